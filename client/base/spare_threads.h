// How many more threads this process may have at the same moment: the daemon, a worker and
// nodecommctl look before gRPC makes its own, which then waits for ever for one that could not be
// made. How many those are follows from the processors. Design note: client/base/README.md.
#pragma once

#include <algorithm>

#include "absl/status/status.h"

namespace nodecomm {

struct SpareThreads {
  int count = 0;                         // as many as were asked for, or fewer
  absl::Status next = absl::OkStatus();  // why there is not one more; OK: that was not tried
};

// How many processors gRPC counts, by which it makes its threads: also those that this process may
// not use.
int ProcessorsOfGrpc();

// What gRPC 1.51 has in its pool for events there: one a processor, between 2 and 32.
constexpr int EventThreadsOfGrpc(int processors) { return std::clamp(processors, 2, 32); }

// Makes up to `wanted` threads, which do nothing, and ends them again. They take no signals.
SpareThreads CountSpareThreads(int wanted);

}  // namespace nodecomm
