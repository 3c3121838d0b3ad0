// Frames of session.sock: a fixed header, a bounded payload and bounded file descriptors, one frame
// a SOCK_SEQPACKET message. Not the control plane: requests and answers go over gRPC
// (nodecomm/v1/control.proto). Everything from outside is checked here before anybody believes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/base/unique_fd.h"

namespace nodecomm {

inline constexpr size_t kFramePayloadBytesMax = 4096;
// Eight planes and a control page, with room to spare; the kernel's own limit is 253.
inline constexpr size_t kFrameFdsMax = 16;

enum class FrameType : uint16_t {
  kHello = 1,        // worker: SessionHello
  kWelcome = 2,      // daemon: SessionWelcome, and the fd of a liveness page (liveness_page.h)
  kRefusal = 3,      // daemon: SessionRefusal; it closes the socket afterwards
  kTransfer = 4,     // daemon: fds, for the call whose answer named `transfer_id`
  kTransferAck = 5,  // worker: took the fds of `transfer_id`; the next transfer may come
  kAlive = 6,        // worker: the welcome has come, and a thread holds the futex of its page
};

struct Frame {
  FrameType type{};
  uint64_t transfer_id = 0;
  std::string payload;
  // Close-on-exec, owned.
  std::vector<UniqueFd> fds;
  // Received only: it had fds, but this process may open no more files. There are none in `fds`.
  bool fds_lost = false;
};

// What goes out: views, valid during the call.
struct FrameView {
  FrameType type{};
  uint64_t transfer_id = 0;
  std::string_view payload;
  absl::Span<const int> fds;
};

// Sends one frame without blocking or raising SIGPIPE.
// ResourceExhausted: the peer does not read (try when the socket is writable) or too many fds are
// in flight; Unavailable: the peer is gone; InvalidArgument: over a bound above.
absl::Status SendFrame(int socket, const FrameView& frame);

// Receives one frame; on a non-blocking socket, nothing if none has come.
// Unavailable: the peer closed; InvalidArgument: what came is no frame of ours (bad magic, version,
// length, type, or surplus fds; every received fd has been closed) and the connection should be
// closed.
absl::StatusOr<std::optional<Frame>> ReceiveFrame(int socket);

// Likewise from a peer that has none to send. InvalidArgument also if it sends some: they are
// neither taken nor closed, either of which could block for as long as the peer likes, but stay in
// the socket's queue.
absl::StatusOr<std::optional<Frame>> ReceiveFrameWithoutFds(int socket);

}  // namespace nodecomm
