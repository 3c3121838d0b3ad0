// What the daemon and its allocator child say to each other: one fixed record each way, on a
// SOCK_SEQPACKET pair. Not a public protocol: both ends come from one build, and a record of
// another version is an error. Design note: daemon/memory/README.md, "the allocator".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/quantities.h"
#include "client/base/steady_clock.h"
#include "client/base/unique_fd.h"

namespace nodecomm {

struct AllocatorRequest {
  uint64_t id = 0;
  std::string gpu_uuid;
  ByteCount bytes;
};

struct AllocatorReply {
  uint64_t id = 0;
  // Why there is no memory, or OK with the two fields below.
  absl::Status status;
  ByteCount bytes;
  UniqueFd fd;
};

// The socket on which the child finds the daemon: its standard input.
inline constexpr int kAllocatorSocket = 0;

// Both: Unavailable: the other end is gone; InvalidArgument: a field is too long.
absl::Status SendAllocatorRequest(int socket, const AllocatorRequest& request);
absl::Status SendAllocatorReply(int socket, const AllocatorReply& reply);

// Both wait until `deadline`, which may be infinite. Unavailable: the other end is gone;
// DeadlineExceeded: nothing came; DataLoss: what came is no such record (every fd that came with it
// has been closed). ResourceExhausted, in the words of EMFILE: this process had no descriptor for
// what came, and the record is lost; the next one is whole.
absl::StatusOr<AllocatorRequest> ReceiveAllocatorRequest(int socket, SteadyTime deadline);
absl::StatusOr<AllocatorReply> ReceiveAllocatorReply(int socket, SteadyTime deadline);

}  // namespace nodecomm
