// Reads what the command line says of sizes and types, and lists the cases of a table.
// Not the command line itself: that is main.cc.
// Design note: client/perf/README.md.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

// "4096", "64K", "1M", "2G" (powers of 1024; "KiB", "KB" and lower case are the same). At most
// kMessageBytesMax.
absl::StatusOr<ByteCount> ParseBytes(absl::string_view text);

// "96 KiB", "1.5 MiB", "1000 B": exact, in the largest unit that needs no more than a half.
std::string FormatBytes(ByteCount bytes);

// "float", "f32", "half", "f16", "bf16" and their longer names.
absl::StatusOr<nodecomm_type> ParseType(absl::string_view text);

// Every size from bytes_min on, times the step factor, up to bytes_max, for every type in turn. A
// size that is no multiple of the element is rounded down. In a sweep all of them with auto, then
// again with each algorithm. InvalidArgument: nothing to do, too much, or a size below one element.
absl::StatusOr<std::vector<Case>> ListCases(const Options& options);

inline constexpr ByteCount kMessageBytesMax{size_t{4} << 30};
inline constexpr size_t kSizesMax = 128;
inline constexpr size_t kCasesMax = 3 * kSizesMax;

}  // namespace nodecomm::perf
