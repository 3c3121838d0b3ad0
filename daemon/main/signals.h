// The signals that stop the daemon or let it read its configuration anew, received in order rather
// than in a handler, but for an alarm when it stops. Not an event loop: main waits, other threads
// work.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"

namespace nodecomm {

// Blocks those below in this thread and those it starts. Before any other thread is started.
void BlockSignals();

// A worker that is gone, a closed log, a file over the limit on its size: an error of one write,
// and no reason to die. Programs that are started inherit it. Before anything is written.
void IgnoreSignalsOfWrites();

// The next number of SIGTERM, SIGINT, SIGHUP or one without a meaning; nothing if none comes within
// `timeout`.
std::optional<int> WaitForSignal(absl::Duration timeout);
// SIGUSR1, SIGQUIT, SIGALRM and others: for the log, and ignored.
bool IsMeaningless(int signal_number);
// SIGTERM and SIGINT only; the others stay for later.
std::optional<int> WaitForStopSignal(absl::Duration timeout);

// Ends the process with kExitFailure and a line on standard error if it is not destroyed within
// `limit`: for work of libraries that may never be done for want of a thread, so it takes none. On
// the main thread, after BlockSignals, one at a time. SIGALRM that others send is no matter to it.
class [[nodiscard]] ExitAlarm {
 public:
  ExitAlarm(absl::Duration limit, std::string says);
  ~ExitAlarm();
  ExitAlarm(const ExitAlarm&) = delete;
  ExitAlarm& operator=(const ExitAlarm&) = delete;
};

}  // namespace nodecomm
