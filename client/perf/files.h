// Reads and writes whole files, bounded.
// Nothing of what is in them.
// Design note: client/perf/README.md.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace nodecomm::perf {

// A document of the longest sweep is a tenth of it.
inline constexpr size_t kFileBytesMax = size_t{4} << 20;

// InvalidArgument: longer than kFileBytesMax.
absl::StatusOr<std::string> ReadFile(const std::string& path);
// Whether `path` can be written, before what goes into it is there: makes the file if there is
// none.
absl::Status CheckWritable(const std::string& path);
absl::Status WriteFile(const std::string& path, const std::string& text);

}  // namespace nodecomm::perf
