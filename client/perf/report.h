// What the user sees: the table in the manner of nccl-tests, and the JSON file.
// Pure: reads the board, returns text.
// Design note: client/perf/README.md.
#pragma once

#include <span>
#include <string>

#include "absl/strings/string_view.h"
#include "client/perf/board.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

// Lines about the run, then the table's head. Rows and head fit each other.
std::string FormatHeader(const Options& options, Board& board);
std::string FormatRow(const Options& options, const Case& c, const Row& row);

// About the machine, as its operating system tells.
struct HostFacts {
  std::string name;
  std::string kernel;
  int cpus = 0;
  std::string time_utc;
};
HostFacts ReadHostFacts();

// `cases` are those with complete rows, in order. A sweep has an object "sweep" more, random calls
// have "random" instead of results.
std::string FormatJson(const Options& options, const HostFacts& host, absl::string_view version,
                       Board& board, std::span<const Case> cases);

}  // namespace nodecomm::perf
