// What a worker does with --random: makes the calls and compares every byte.
// Not the choice of the calls: random_calls.h.
// Design note: client/perf/README.md, "random calls".
#pragma once

#include "absl/status/status.h"
#include "client/perf/worker.h"

namespace nodecomm::perf {

absl::Status RunRandomCalls(Worker* worker);

}  // namespace nodecomm::perf
