#include "daemon/memory/allocator_protocol.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

constexpr uint32_t kMagic = 0x6c61636e;  // "ncal" in memory
constexpr uint32_t kVersion = 1;
constexpr size_t kUuidBytes = 64;
constexpr size_t kMessageBytes = 256;
// One is expected; room for a few, so that surplus ones are seen and closed.
constexpr size_t kFdsMax = 4;

struct RequestRecord {
  uint32_t magic;
  uint32_t version;
  uint64_t id;
  uint64_t bytes;
  char gpu_uuid[kUuidBytes];  // zero-terminated
};

struct ReplyRecord {
  uint32_t magic;
  uint32_t version;
  uint64_t id;
  uint64_t bytes;
  int32_t code;  // absl::StatusCode
  uint32_t fd_count;
  char message[kMessageBytes];  // zero-terminated
};

struct alignas(cmsghdr) ControlBuffer {
  std::array<char, CMSG_SPACE(sizeof(int) * kFdsMax)> bytes;
};

// `fd`: sent along, or -1.
absl::Status SendRecord(int socket, const void* record, size_t bytes, int fd) {
  iovec part = {const_cast<void*>(record), bytes};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ControlBuffer control = {};
  if (fd >= 0) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &fd, sizeof(int));
  }
  ssize_t sent;
  do {
    // Never blocks: at most one request and one reply are under way.
    sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return absl::OkStatus();
  if (errno == EPIPE || errno == ECONNRESET) {
    return absl::UnavailableError("the other end of the allocator's socket is gone");
  }
  return absl::ErrnoToStatus(errno, "sendmsg on the allocator's socket");
}

absl::Status WaitReadable(int socket, SteadyTime deadline) {
  while (true) {
    const absl::Duration left = deadline - SteadyNow();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError("nothing came on the allocator's socket");
    }
    timespec timeout = absl::ToTimespec(std::min(left, absl::Hours(1)));
    pollfd waited = {socket, POLLIN, 0};
    const int ready = ppoll(&waited, 1, &timeout, nullptr);
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) {
      return absl::ErrnoToStatus(errno, "poll on the allocator's socket");
    }
  }
}

std::vector<UniqueFd> TakeFds(msghdr& message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; at + sizeof(int) <= part->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + at, sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

// Fills `record` or fails; what fds came is in `fds`.
absl::Status ReceiveRecord(int socket, SteadyTime deadline, void* record, size_t bytes,
                           std::vector<UniqueFd>& fds) {
  ABSL_RETURN_IF_ERROR(WaitReadable(socket, deadline));
  iovec part = {record, bytes};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ControlBuffer control = {};
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  ssize_t received;
  do {
    received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received == 0 || (received < 0 && errno == ECONNRESET)) {
    return absl::UnavailableError("the other end of the allocator's socket is gone");
  }
  if (received < 0) return absl::ErrnoToStatus(errno, "recvmsg on the allocator's socket");
  fds = TakeFds(message);
  // There was room for more in the message, but not in this process.
  if ((message.msg_flags & MSG_CTRUNC) != 0 && fds.size() < kFdsMax) {
    return absl::ErrnoToStatus(EMFILE, "taking a plane from the allocator");
  }
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
      static_cast<size_t>(received) != bytes) {
    return absl::DataLossError(absl::StrFormat(
        "a record of %d bytes came on the allocator's socket, expected %d", received, bytes));
  }
  uint32_t head[2];  // magic and version lead both records
  std::memcpy(head, record, sizeof(head));
  if (head[0] != kMagic || head[1] != kVersion) {
    return absl::DataLossError(
        absl::StrFormat("a record of magic %#x, version %d came on the allocator's socket, "
                        "expected %#x, %d",
                        head[0], head[1], kMagic, kVersion));
  }
  return absl::OkStatus();
}

std::string ZeroTerminated(const char* text, size_t bytes_max) {
  return std::string(text, strnlen(text, bytes_max));
}

}  // namespace

absl::Status SendAllocatorRequest(int socket, const AllocatorRequest& request) {
  RequestRecord record = {};
  record.magic = kMagic;
  record.version = kVersion;
  record.id = request.id;
  record.bytes = request.bytes.value;
  if (request.gpu_uuid.size() >= kUuidBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a GPU's UUID of %d characters", request.gpu_uuid.size()));
  }
  std::memcpy(record.gpu_uuid, request.gpu_uuid.data(), request.gpu_uuid.size());
  return SendRecord(socket, &record, sizeof(record), -1);
}

absl::StatusOr<AllocatorRequest> ReceiveAllocatorRequest(int socket, SteadyTime deadline) {
  RequestRecord record = {};
  std::vector<UniqueFd> fds;
  ABSL_RETURN_IF_ERROR(ReceiveRecord(socket, deadline, &record, sizeof(record), fds));
  return AllocatorRequest{.id = record.id,
                          .gpu_uuid = ZeroTerminated(record.gpu_uuid, kUuidBytes),
                          .bytes = ByteCount{static_cast<size_t>(record.bytes)}};
}

absl::Status SendAllocatorReply(int socket, const AllocatorReply& reply) {
  ReplyRecord record = {};
  record.magic = kMagic;
  record.version = kVersion;
  record.id = reply.id;
  record.bytes = reply.bytes.value;
  record.code = static_cast<int32_t>(reply.status.code());
  record.fd_count = reply.status.ok() ? 1 : 0;
  const absl::string_view text = reply.status.message();
  std::copy_n(text.begin(), std::min(text.size(), kMessageBytes - 1), record.message);
  return SendRecord(socket, &record, sizeof(record), reply.status.ok() ? reply.fd.get() : -1);
}

absl::StatusOr<AllocatorReply> ReceiveAllocatorReply(int socket, SteadyTime deadline) {
  ReplyRecord record = {};
  std::vector<UniqueFd> fds;
  ABSL_RETURN_IF_ERROR(ReceiveRecord(socket, deadline, &record, sizeof(record), fds));
  const bool ok = record.code == static_cast<int32_t>(absl::StatusCode::kOk);
  if (fds.size() != (ok ? 1 : 0) || record.fd_count != fds.size()) {
    return absl::DataLossError(absl::StrFormat(
        "a reply of code %d with %d fds came on the allocator's socket", record.code, fds.size()));
  }
  AllocatorReply reply;
  reply.id = record.id;
  reply.bytes = ByteCount{static_cast<size_t>(record.bytes)};
  if (ok) {
    reply.fd = std::move(fds.front());
  } else {
    reply.status = absl::Status(static_cast<absl::StatusCode>(record.code),
                                ZeroTerminated(record.message, kMessageBytes));
  }
  return reply;
}

}  // namespace nodecomm
