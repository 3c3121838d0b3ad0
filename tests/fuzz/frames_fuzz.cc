// Fuzzes what a worker may send on session.sock: any bytes, with any number of descriptors, then
// the daemon's reading of a hello. Whatever comes, no descriptor stays open.

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <vector>

#include "daemon/session/handshake.h"
#include "proto/framing.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"

namespace nodecomm {
namespace {

constexpr int kFdsMax = 24;  // more than a frame may have

void SendWithFds(int socket, std::string& bytes, int fd_count) {
  iovec part = {bytes.data(), bytes.size()};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kFdsMax)> control = {};
  if (fd_count > 0) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * static_cast<size_t>(fd_count));
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * static_cast<size_t>(fd_count));
    const std::vector<int> fds(static_cast<size_t>(fd_count), socket);
    std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
  }
  sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// A header that is right but for what the input says, so that what lies behind it is reached.
std::string WithHeader(Input& input, int fd_count) {
  struct Header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint64_t transfer_id;
    uint32_t payload_bytes;
    uint32_t fd_count;
  } header = {.magic = 0x6d63646e,
              .version = 1,
              .type = static_cast<uint16_t>(input.Number(8)),
              .transfer_id = input.Word(),
              .payload_bytes = 0,
              .fd_count = static_cast<uint32_t>(fd_count)};
  const std::string payload = input.Rest();
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + payload;
}

void Run(Input input) {
  const int before = OpenFds();
  {
    std::array<int, 2> pair;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) != 0) {
      return;
    }
    const UniqueFd ours(pair[0]);
    const UniqueFd theirs(pair[1]);
    const int fd_count = input.Number(kFdsMax);
    const bool well_formed = input.Number(3) != 0;
    std::string bytes = well_formed ? WithHeader(input, fd_count) : input.Rest();
    SendWithFds(theirs.get(), bytes, fd_count);
    const absl::StatusOr<std::optional<Frame>> frame = ReceiveFrame(ours.get());
    if (frame.ok() && frame->has_value()) {
      Require((*frame)->payload.size() <= kFramePayloadBytesMax, "a payload within its bound");
      Require((*frame)->fds.size() <= kFrameFdsMax, "descriptors within their bound");
      CheckHello((*frame)->payload).IgnoreError();
    }
  }
  Require(OpenFds() == before, "every descriptor is closed");
}

}  // namespace
}  // namespace nodecomm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nodecomm::Run(nodecomm::Input(data, size));
  return 0;
}
