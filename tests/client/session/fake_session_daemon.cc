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

void FakeSessionDaemon::Serve() {
  while (true) {
    std::array<pollfd, 2> watched = {
        pollfd{.fd = stop_event_.get(), .events = POLLIN, .revents = 0},
        pollfd{.fd = listener_.get(), .events = POLLIN, .revents = 0}};
    if (poll(watched.data(), watched.size(), -1) < 0) continue;  // interrupted
    if (watched[0].revents != 0) return;
    UniqueFd session(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!session.valid()) continue;
    const std::string welcome = WelcomePayload();
    const absl::MutexLock lock(&mutex_);
    // Known before it is welcomed: whoever has been welcomed may count on it.
    ++connections_;
    SendFrame(session.get(),
              {.type = FrameType::kWelcome, .transfer_id = 0, .payload = welcome, .fds = {}})
        .IgnoreError();
    sessions_.push_back(std::move(session));
  }
}

std::string WelcomePayload() {
  v1::SessionWelcome welcome;
  welcome.set_session_id(7);
  welcome.set_token(std::string(32, '\xab'));
  welcome.mutable_version()->set_major(kVersionMajor);
  welcome.mutable_version()->set_minor(kVersionMinor);
  welcome.set_platform(v1::PLATFORM_SIMULATED);
  return welcome.SerializeAsString();
}

}  // namespace nodecomm
