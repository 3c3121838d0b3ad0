// What a worker does for the table: checks and times every case, and notes the results on the
// board. Not the random calls: random_run.h. Design note: client/perf/README.md, "what is
// measured".
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "client/perf/types.h"
#include "client/perf/worker.h"

namespace nodecomm::perf {

absl::Status RunTable(Worker* worker, const std::vector<Case>& cases);

}  // namespace nodecomm::perf
