// What the client calls: an all-reduce over planes that are mapped already, on a GPU stream or on
// host threads. Not the control plane: nothing here knows of daemons, sockets or groups. Design
// note: kernels/README.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "client/base/quantities.h"
#include "kernels/element.h"
#include "kernels/selection.h"

namespace nodecomm::kernels {

// What a rank calls, as ranks compare it in checked mode.
struct CallFacts {
  uint64_t bytes;
  uint32_t type;  // an ElementType, or what another rank sent instead
  bool operator==(const CallFacts&) const = default;
};

// Where a kernel writes why it gave up: in memory that the host reads without asking the GPU
// (pinned). One writer a generation. `state` is written last, so whoever reads it non-zero may read
// the rest.
struct FailureRecord {
  static constexpr uint32_t kNone = 0;
  // The control page said so; or the plane was poisoned, by a peer or an earlier launch that gave
  // up.
  static constexpr uint32_t kStopped = 1;
  static constexpr uint32_t kTimeout = 2;   // a peer's data did not come in time
  static constexpr uint32_t kLeft = 3;      // a peer has left
  static constexpr uint32_t kOverlap = 4;   // this rank had two calls at the same time
  static constexpr uint32_t kMismatch = 5;  // checked mode: a peer calls something else
  uint32_t state;
  uint32_t epoch;
  // Whom it is about: who is missing, has left, or calls something else. -1: nobody.
  int32_t missing_rank;
  // Not 0: it was found by checked mode, before the call of this number.
  uint32_t sequence;
  // Of a mismatch.
  CallFacts own;
  CallFacts other;
};

// Words that somebody outside the group's members writes, and kernels poll while they wait.
// Addresses as the executing side sees them (device addresses for the GPU).
struct StopWords {
  const uint32_t* stop = nullptr;        // non-zero: the generation is over
  const uint32_t* left_mask = nullptr;   // bit r: rank r has left after completing left_epoch[r]
  const uint32_t* left_epoch = nullptr;  // kWorldSizeMax words
};

// One rank's end of a ready group. Plain data; whoever fills it in keeps what it points to mapped
// for as long as calls run.
struct Binding {
  Rank rank;
  GroupShape shape;
  // Every rank's plane as mapped here, in rank order; zero when the group began.
  std::array<std::byte*, kWorldSizeMax> planes{};
  StopWords stop_words;
  FailureRecord* failure = nullptr;
  uint64_t timeout_ns = 0;
  // Every call is compared with the peers' before it runs; the same on every rank.
  bool checked = false;
  // Of this rank's GPU; from 9 on, launches overlap the end of the kernel before (programmatic
  // dependent launch).
  int compute_capability_major = 0;
};

// What a packet's index of 32 bits can count, with room for a grid's step.
inline constexpr uint64_t kMessageBytesMax = uint64_t{32} << 30;

// in, out: `count` elements each, in memory of the executing side; aligned to the element; equal,
// or apart. The kernels check none of it.
struct Message {
  const void* in = nullptr;
  void* out = nullptr;
  size_t count = 0;
  ElementType type = ElementType::kFloat32;
};

// Runs on the calling thread and returns when `out` holds the sums; waits yield the CPU.
// InvalidArgument: as CheckMessage (call_setup.h). Aborted: the group was stopped, a peer left or
// did not come in time, or another thread is in a call with the same rank's plane (see
// `binding.failure`).
absl::Status AllReduceOnHost(const Binding& binding, const Message& message);

// The epoch of the last call on this plane that has completed in all its blocks; or of a call in a
// graph that was given up later, whose peers know of its end by the cause. `plane_header` is
// host memory that holds a copy of a plane's first kPlaneHeaderBytes (plane_layout.h).
uint32_t LastEpoch(const std::byte* plane_header);

}  // namespace nodecomm::kernels
