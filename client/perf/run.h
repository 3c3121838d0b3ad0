// A whole run: starts the ranks, prints the table while it grows, writes the JSON file.
// Not the command line (main.cc), and not what a rank does (worker.h).
// Design note: client/perf/README.md.
#pragma once

#include "absl/status/status.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

// Not OK: something failed, or elements were wrong; the message is for the user.
absl::Status Run(const Options& options);

}  // namespace nodecomm::perf
