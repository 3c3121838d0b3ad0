// The signals that stop the daemon or let it read its configuration anew, received in order rather
// than in a handler. Not an event loop: main waits, other threads work.
#pragma once

#include <optional>

#include "absl/time/time.h"

namespace nodecomm {

// Blocks those below in this thread and those it starts, and ignores SIGPIPE. Before
// any other thread is started.
void BlockSignals();

// The next number of SIGTERM, SIGINT, SIGHUP or one without a meaning; nothing if none comes within
// `timeout`.
std::optional<int> WaitForSignal(absl::Duration timeout);
// SIGUSR1, SIGUSR2 and SIGQUIT: for the log, and ignored.
bool IsMeaningless(int signal_number);
// SIGTERM and SIGINT only; the others stay for later.
std::optional<int> WaitForStopSignal(absl::Duration timeout);

}  // namespace nodecomm
