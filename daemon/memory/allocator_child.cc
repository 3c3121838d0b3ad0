#include "daemon/memory/allocator_child.h"

#include <errno.h>
#include <sys/socket.h>

#include <array>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"
#include "daemon/memory/allocator_protocol.h"
#include "daemon/process/open_fds.h"

namespace nodecomm {
namespace {

// A child that died by itself shows so within the moment that its socket's closing takes to become
// its end.
constexpr absl::Duration kEndGrace = absl::Milliseconds(100);

}  // namespace

absl::StatusOr<std::unique_ptr<AllocatorChild>> AllocatorChild::Start(
    const std::string& program, const std::vector<std::string>& gpu_uuids) {
  std::array<int, 2> pair;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair for the allocator");
  }
  UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  ABSL_ASSIGN_OR_RETURN(
      std::unique_ptr<ChildProcess> process,
      ChildProcess::Start({.program = program,
                           .arguments = gpu_uuids,
                           .fds = {{.number = kAllocatorSocket, .fd = theirs.get()}}}));
  return std::unique_ptr<AllocatorChild>(
      new AllocatorChild(std::move(process), std::move(ours), program));
}

AllocatorChild::AllocatorChild(std::unique_ptr<ChildProcess> process, UniqueFd socket,
                               std::string program)
    : process_(std::move(process)), socket_(std::move(socket)), program_(std::move(program)) {}

bool AllocatorChild::IsAlive() const { return !process_->HasEnded(absl::ZeroDuration()); }

absl::Status AllocatorChild::Broken(std::string_view what) {
  return absl::UnavailableError(
      absl::StrFormat("the allocator (%s, process %d) %s; it %s, and the next call starts it again",
                      program_, pid(), what, process_->End(kEndGrace)));
}

AllocatorChild::Answer AllocatorChild::Ask(std::string_view gpu_uuid, ByteCount bytes,
                                           absl::Duration timeout) {
  const uint64_t id = next_id_++;
  const absl::Status sent = SendAllocatorRequest(
      socket_.get(), {.id = id, .gpu_uuid = std::string(gpu_uuid), .bytes = bytes});
  if (absl::IsInvalidArgument(sent)) return {.usable = true, .plane = sent};
  if (!sent.ok()) return {.usable = false, .plane = Broken("does not listen")};

  absl::StatusOr<AllocatorReply> reply =
      ReceiveAllocatorReply(socket_.get(), SteadyNow() + timeout);
  if (absl::IsDeadlineExceeded(reply.status())) {
    const std::string what =
        absl::StrFormat("did not answer within %s", absl::FormatDuration(timeout));
    return {.usable = false, .plane = Broken(what)};
  }
  if (absl::IsUnavailable(reply.status())) {
    return {.usable = false, .plane = Broken("died before it answered")};
  }
  if (SaysNoFdIsLeft(reply.status())) return {.usable = true, .plane = reply.status()};
  if (!reply.ok()) {
    return {.usable = false, .plane = Broken(std::string(reply.status().message()))};
  }
  if (reply->id != id || (reply->status.ok() && reply->bytes < bytes)) {
    return {.usable = false, .plane = Broken("answered another question than was asked")};
  }
  if (!reply->status.ok()) {
    // Unavailable: the driver did not start in the child, which therefore ends.
    return {.usable = !absl::IsUnavailable(reply->status), .plane = reply->status};
  }
  return {.usable = true, .plane = Plane{std::move(reply->fd), reply->bytes}};
}

}  // namespace nodecomm
