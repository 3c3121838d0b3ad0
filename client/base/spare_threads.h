// How many more threads this process may have at the same moment: the daemon and a worker look
// before gRPC makes its own, which then waits for ever for one that could not be made. Not who
// makes threads, nor how many that are. Design note: client/base/README.md.
#pragma once

#include "absl/status/status.h"

namespace nodecomm {

struct SpareThreads {
  int count = 0;                         // as many as were asked for, or fewer
  absl::Status next = absl::OkStatus();  // why there is not one more; OK: that was not tried
};

// Makes up to `wanted` threads, which do nothing, and ends them again. They take no signals.
SpareThreads CountSpareThreads(int wanted);

}  // namespace nodecomm
