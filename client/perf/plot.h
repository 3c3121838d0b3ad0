// --plot: from a run's JSON document to a picture in a file.
// Needs no daemon and no GPU.
// Design note: client/perf/README.md, "picture".
#pragma once

#include <string>

#include "absl/status/status.h"

namespace nodecomm::perf {

absl::Status WritePlot(const std::string& json, const std::string& svg_path);

// From the file that an earlier run wrote.
absl::Status PlotFile(const std::string& json_path, const std::string& svg_path);

}  // namespace nodecomm::perf
