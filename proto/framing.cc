#include "proto/framing.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_format.h"

namespace nodecomm {
namespace {

constexpr uint32_t kMagic = 0x6d63646e;  // "ndcm" in memory
constexpr uint16_t kFramingVersion = 1;

// Both ends run on one host, so the fields keep the host's byte order.
struct Header {
  uint32_t magic;
  uint16_t version;
  uint16_t type;
  uint64_t transfer_id;
  uint32_t payload_bytes;
  uint32_t fd_count;
};
static_assert(sizeof(Header) == 24);

struct alignas(cmsghdr) ControlBuffer {
  std::array<char, CMSG_SPACE(sizeof(int) * kFrameFdsMax)> bytes;
};

absl::Status SendError(int error) {
  switch (error) {
    case EAGAIN:
    case ENOBUFS:
      return absl::ResourceExhaustedError("session socket is full: the peer does not read");
    case ETOOMANYREFS:
      return absl::ResourceExhaustedError(
          "too many file descriptors of this user are in flight: the peers do not read theirs");
    case EPIPE:
    case ECONNRESET:
      return absl::UnavailableError("session socket: the peer is gone");
    default:
      return absl::ErrnoToStatus(error, "sendmsg on the session socket");
  }
}

// Takes every fd out of `message`, so that none leaks whatever is wrong with the frame.
std::vector<UniqueFd> TakeFds(msghdr& message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

absl::Status ReceiveError(int error) {
  if (error == ECONNRESET) return absl::UnavailableError("session socket: the peer is gone");
  return absl::ErrnoToStatus(error, "recvmsg on the session socket");
}

// Whether the next message brings fds; nothing if none has come. Looking does not take them: there
// is no room given for any, which the kernel flags.
absl::StatusOr<std::optional<bool>> NextHasFds(int socket) {
  char byte;
  iovec part = {&byte, sizeof(byte)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ssize_t looked;
  do {
    looked = recvmsg(socket, &message, MSG_PEEK);
  } while (looked < 0 && errno == EINTR);
  if (looked < 0 && errno == EAGAIN) return std::nullopt;
  if (looked < 0) return ReceiveError(errno);
  return (message.msg_flags & MSG_CTRUNC) != 0;
}

bool IsKnownType(uint16_t type) {
  return type >= static_cast<uint16_t>(FrameType::kHello) &&
         type <= static_cast<uint16_t>(FrameType::kAlive);
}

}  // namespace

absl::Status SendFrame(int socket, const FrameView& frame) {
  if (frame.payload.size() > kFramePayloadBytesMax || frame.fds.size() > kFrameFdsMax) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "frame of %d bytes and %d fds is over the bounds of %d and %d", frame.payload.size(),
        frame.fds.size(), kFramePayloadBytesMax, kFrameFdsMax));
  }
  Header header = {.magic = kMagic,
                   .version = kFramingVersion,
                   .type = static_cast<uint16_t>(frame.type),
                   .transfer_id = frame.transfer_id,
                   .payload_bytes = static_cast<uint32_t>(frame.payload.size()),
                   .fd_count = static_cast<uint32_t>(frame.fds.size())};
  std::array<iovec, 2> parts = {
      iovec{&header, sizeof(header)},
      iovec{const_cast<char*>(frame.payload.data()), frame.payload.size()}};
  msghdr message = {};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  ControlBuffer control = {};
  if (!frame.fds.empty()) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * frame.fds.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * frame.fds.size());
    std::memcpy(CMSG_DATA(rights), frame.fds.data(), sizeof(int) * frame.fds.size());
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  // SOCK_SEQPACKET sends a message whole or not at all.
  return sent < 0 ? SendError(errno) : absl::OkStatus();
}

absl::StatusOr<std::optional<Frame>> ReceiveFrame(int socket) {
  Header header = {};
  Frame frame;
  frame.payload.resize(kFramePayloadBytesMax);
  std::array<iovec, 2> parts = {iovec{&header, sizeof(header)},
                                iovec{frame.payload.data(), frame.payload.size()}};
  ControlBuffer control = {};
  msghdr message = {};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  ssize_t received;
  do {
    received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) {
    if (errno == EAGAIN) return std::nullopt;
    return ReceiveError(errno);
  }
  frame.fds = TakeFds(message);
  if (received == 0) return absl::UnavailableError("session socket: the peer closed it");
  if ((message.msg_flags & MSG_TRUNC) != 0) {
    return absl::InvalidArgumentError("frame is longer than allowed");
  }
  if (static_cast<size_t>(received) < sizeof(header) || header.magic != kMagic) {
    return absl::InvalidArgumentError("not a frame of nodecomm");
  }
  if (header.version != kFramingVersion) {
    return absl::InvalidArgumentError(
        absl::StrFormat("framing version %d, expected %d", header.version, kFramingVersion));
  }
  if (!IsKnownType(header.type)) {
    return absl::InvalidArgumentError(absl::StrFormat("unknown frame type %d", header.type));
  }
  // Either more came than allowed, or this process may open no more files: the first is the
  // sender's fault, the second is not, and the rest of the frame is whole.
  const bool fds_cut = (message.msg_flags & MSG_CTRUNC) != 0;
  frame.fds_lost = fds_cut && frame.fds.size() < header.fd_count && header.fd_count <= kFrameFdsMax;
  const bool fds_true = !fds_cut && frame.fds.size() == header.fd_count;
  if (header.payload_bytes != static_cast<size_t>(received) - sizeof(header) ||
      (!fds_true && !frame.fds_lost)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "frame says %d bytes and %d fds, but holds %d and %d", header.payload_bytes,
        header.fd_count, static_cast<size_t>(received) - sizeof(header), frame.fds.size()));
  }
  if (frame.fds_lost) frame.fds.clear();
  frame.type = static_cast<FrameType>(header.type);
  frame.transfer_id = header.transfer_id;
  frame.payload.resize(header.payload_bytes);
  return frame;
}

absl::StatusOr<std::optional<Frame>> ReceiveFrameWithoutFds(int socket) {
  const absl::StatusOr<std::optional<bool>> has_fds = NextHasFds(socket);
  if (!has_fds.ok()) return has_fds.status();
  // What comes from here on is not looked at, and not taken either.
  if (!has_fds->has_value()) return std::nullopt;
  if (**has_fds) {
    return absl::InvalidArgumentError("frame carries fds, of which none was expected");
  }
  return ReceiveFrame(socket);
}

}  // namespace nodecomm
