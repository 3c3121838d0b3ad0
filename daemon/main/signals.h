// The signals that stop the daemon, received in order rather than in a handler.
// Not an event loop: main waits, other threads work.
#pragma once

#include <optional>

#include "absl/time/time.h"

namespace nodecomm {

// Blocks SIGTERM and SIGINT in this thread and those it starts, and ignores SIGPIPE. Before any
// other thread is started.
void BlockStopSignals();

// The next stop signal's number; nothing if none comes within `timeout`.
std::optional<int> WaitForStopSignal(absl::Duration timeout);

}  // namespace nodecomm
