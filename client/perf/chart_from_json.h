// The picture of a run, from the JSON document of that run. Pure, and the only place where this
// program reads JSON. Not how it is drawn: that is svg_chart.h.
// Design note: client/perf/README.md, "picture".
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/perf/svg_chart.h"

namespace nodecomm::perf {

// A line for each algorithm that was asked for, and one for NCCL if it was measured, of each type.
// InvalidArgument: not JSON, or without results.
absl::StatusOr<Chart> ReadChart(absl::string_view json);

}  // namespace nodecomm::perf
