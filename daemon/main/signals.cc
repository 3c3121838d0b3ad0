#include "daemon/main/signals.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <array>

namespace nodecomm {
namespace {

// They would end the daemon without a line in its log, and others take some of them for "reopen the
// log" or "show your state". SIGABRT is left for who wants a core.
constexpr std::array kMeaningless = {SIGUSR1,   SIGUSR2, SIGQUIT, SIGALRM,
                                     SIGVTALRM, SIGPROF, SIGIO,   SIGPWR};

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
  for (const int signal_number : kMeaningless) sigaddset(&set, signal_number);
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
}

void IgnoreSignalsOfWrites() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

std::optional<int> WaitForStopSignal(absl::Duration timeout) {
  return WaitFor(StopSignals(), timeout);
}

bool IsMeaningless(int signal_number) {
  return std::find(kMeaningless.begin(), kMeaningless.end(), signal_number) != kMeaningless.end();
}

std::optional<int> WaitForSignal(absl::Duration timeout) { return WaitFor(AllSignals(), timeout); }

}  // namespace nodecomm
