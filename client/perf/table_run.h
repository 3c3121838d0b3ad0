// What a worker does for the table: checks and times every case, and notes the results on the
// board. Not the random calls: random_run.h. Design note: client/perf/README.md, "what is
// measured".
#pragma once

#include <cstddef>
#include <span>

#include "absl/status/status.h"
#include "client/perf/types.h"
#include "client/perf/worker.h"

namespace nodecomm::perf {

// The results of cases[i] go to row first_row + i.
absl::Status RunTable(Worker* worker, std::span<const Case> cases, size_t first_row);

}  // namespace nodecomm::perf
