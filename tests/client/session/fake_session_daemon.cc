#include "tests/client/session/fake_session_daemon.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "client/base/version.h"
#include "nodecomm/v1/session.pb.h"
#include "proto/framing.h"

namespace nodecomm {

namespace {

std::string UnknownSessionPayload() {
  v1::SessionRefusal refusal;
  refusal.set_reason("no such session");
  refusal.mutable_version()->set_major(kVersionMajor);
  refusal.mutable_version()->set_minor(kVersionMinor);
  refusal.set_session_unknown(true);
  return refusal.SerializeAsString();
}

}  // namespace

FakeSessionDaemon::FakeSessionDaemon(const std::string& runtime_dir)
    : listener_(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)),
      stop_event_(eventfd(0, EFD_CLOEXEC)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = runtime_dir + "/session.sock";
  std::memcpy(address.sun_path, path.data(), path.size());
  if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener_.get(), 16) != 0) {
    abort();
  }
  server_ = std::thread([this] { Serve(); });
}

FakeSessionDaemon::~FakeSessionDaemon() {
  eventfd_write(stop_event_.get(), 1);
  server_.join();
}

int FakeSessionDaemon::connections() const {
  const absl::MutexLock lock(&mutex_);
  return connections_;
}

void FakeSessionDaemon::CloseSessions() {
  const absl::MutexLock lock(&mutex_);
  sessions_.clear();
}

void FakeSessionDaemon::SendTransfer(uint64_t transfer_id) {
  const absl::MutexLock lock(&mutex_);
  if (sessions_.empty()) abort();
  SendFrame(sessions_.back().get(),
            {.type = FrameType::kTransfer, .transfer_id = transfer_id, .payload = {}, .fds = {}})
      .IgnoreError();
}

void FakeSessionDaemon::SetRendezvousTimeout(absl::Duration timeout) {
  const absl::MutexLock lock(&mutex_);
  rendezvous_timeout_ = timeout;
}

void FakeSessionDaemon::ForgetSessions() {
  const absl::MutexLock lock(&mutex_);
  forgetful_ = true;
}

v1::SessionHello FakeSessionDaemon::last_hello() const {
  const absl::MutexLock lock(&mutex_);
  return last_hello_;
}

void FakeSessionDaemon::Serve() {
  while (true) {
    std::array<pollfd, 2> watched = {
        pollfd{.fd = stop_event_.get(), .events = POLLIN, .revents = 0},
        pollfd{.fd = listener_.get(), .events = POLLIN, .revents = 0}};
    if (poll(watched.data(), watched.size(), -1) < 0) continue;  // interrupted
    if (watched[0].revents != 0) return;
    UniqueFd session(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!session.valid()) continue;
    const auto hello = ReceiveFrame(session.get());
    const absl::MutexLock lock(&mutex_);
    if (!hello.ok() || !hello->has_value()) continue;
    last_hello_.ParseFromString((*hello)->payload);
    // Known before it is welcomed: whoever has been welcomed may count on it.
    ++connections_;
    const bool refused = forgetful_ && last_hello_.has_resume();
    const std::string payload =
        refused ? UnknownSessionPayload() : WelcomePayload(rendezvous_timeout_);
    SendFrame(session.get(), {.type = refused ? FrameType::kRefusal : FrameType::kWelcome,
                              .transfer_id = 0,
                              .payload = payload,
                              .fds = {}})
        .IgnoreError();
    if (!refused) sessions_.push_back(std::move(session));
  }
}

std::string WelcomePayload(absl::Duration rendezvous_timeout) {
  v1::SessionWelcome welcome;
  welcome.set_session_id(7);
  welcome.set_token(std::string(32, '\xab'));
  welcome.mutable_version()->set_major(kVersionMajor);
  welcome.mutable_version()->set_minor(kVersionMinor);
  welcome.set_platform(v1::PLATFORM_SIMULATED);
  welcome.set_last_transfer_id(kFakeLastTransfer);
  welcome.set_rendezvous_timeout_ms(absl::ToInt64Milliseconds(rendezvous_timeout));
  return welcome.SerializeAsString();
}

}  // namespace nodecomm
