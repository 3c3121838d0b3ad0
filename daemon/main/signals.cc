#include "daemon/main/signals.h"

#include <pthread.h>
#include <signal.h>

namespace nodecomm {
namespace {

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

sigset_t AllSignals() {
  sigset_t set = StopSignals();
  sigaddset(&set, SIGHUP);
  return set;
}

std::optional<int> WaitFor(const sigset_t& set, absl::Duration timeout) {
  const timespec limit = absl::ToTimespec(timeout);
  const int signal_number = sigtimedwait(&set, nullptr, &limit);
  if (signal_number < 0) return std::nullopt;  // the time is over, or another signal came
  return signal_number;
}

}  // namespace

void BlockSignals() {
  const sigset_t set = AllSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // A worker that is gone, or a closed log, is an error of one write and no reason to die.
  signal(SIGPIPE, SIG_IGN);
}

std::optional<int> WaitForStopSignal(absl::Duration timeout) {
  return WaitFor(StopSignals(), timeout);
}

std::optional<int> WaitForSignal(absl::Duration timeout) { return WaitFor(AllSignals(), timeout); }

}  // namespace nodecomm
