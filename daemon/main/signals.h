// The signals that stop the daemon or let it read its configuration anew, received in order rather
// than in a handler. Not an event loop: main waits, other threads work.
#pragma once

#include <optional>

#include "absl/time/time.h"

namespace nodecomm {

// Blocks SIGTERM, SIGINT and SIGHUP in this thread and those it starts, and ignores SIGPIPE. Before
// any other thread is started.
void BlockSignals();

// The next number of SIGTERM, SIGINT or SIGHUP; nothing if none comes within `timeout`.
std::optional<int> WaitForSignal(absl::Duration timeout);
// The same without SIGHUP, which stays for later.
std::optional<int> WaitForStopSignal(absl::Duration timeout);

}  // namespace nodecomm
