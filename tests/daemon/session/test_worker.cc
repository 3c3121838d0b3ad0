#include "tests/daemon/session/test_worker.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <utility>

#include "client/base/status_macros.h"
#include "client/base/version.h"

namespace nodecomm {

UniqueFd ConnectTo(const std::string& path, int type) {
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    fd.Reset();
  }
  return fd;
}

TestWorker::TestWorker(const std::string& socket_path)
    : socket_(ConnectTo(socket_path, SOCK_SEQPACKET)) {}

absl::Status TestWorker::Send(FrameType type, uint64_t transfer_id, const std::string& payload) {
  return SendFrame(socket_.get(),
                   {.type = type, .transfer_id = transfer_id, .payload = payload, .fds = {}});
}

absl::Status TestWorker::SendHello(int major, int minor) {
  v1::SessionHello hello;
  hello.mutable_version()->set_major(major);
  hello.mutable_version()->set_minor(minor);
  return Send(FrameType::kHello, 0, hello.SerializeAsString());
}

absl::StatusOr<Frame> TestWorker::Receive(absl::Duration timeout) {
  pollfd wait = {.fd = socket_.get(), .events = POLLIN, .revents = 0};
  if (poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) != 1) {
    return absl::DeadlineExceededError("no frame came");
  }
  ABSL_ASSIGN_OR_RETURN(std::optional<Frame> frame, ReceiveFrame(socket_.get()));
  if (!frame.has_value()) return absl::InternalError("readable, but no frame");
  return *std::move(frame);
}

absl::StatusOr<v1::SessionWelcome> TestWorker::Open() {
  ABSL_RETURN_IF_ERROR(SendHello(kVersionMajor, kVersionMinor));
  ABSL_ASSIGN_OR_RETURN(const Frame frame, Receive());
  v1::SessionWelcome welcome;
  if (frame.type != FrameType::kWelcome || !welcome.ParseFromString(frame.payload)) {
    return absl::InternalError("no welcome");
  }
  return welcome;
}

absl::StatusOr<v1::SessionRefusal> TestWorker::ReceiveRefusal() {
  ABSL_ASSIGN_OR_RETURN(const Frame frame, Receive());
  v1::SessionRefusal refusal;
  if (frame.type != FrameType::kRefusal || !refusal.ParseFromString(frame.payload)) {
    return absl::InternalError("no refusal");
  }
  return refusal;
}

bool TestWorker::IsClosed(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (absl::Now() < deadline) {
    const absl::Status status = Receive(deadline - absl::Now()).status();
    if (absl::IsUnavailable(status)) return true;
    if (!status.ok()) return false;
  }
  return false;
}

}  // namespace nodecomm
