#include "daemon/main/signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "daemon/main/command_line.h"

namespace nodecomm {
namespace {

// They would end the daemon without a line in its log, and others take some of them for "reopen the
// log" or "show your state". SIGABRT is left for who wants a core.
constexpr std::array kMeaningless = {SIGUSR1,   SIGUSR2, SIGQUIT, SIGALRM,
                                     SIGVTALRM, SIGPROF, SIGIO,   SIGPWR};

// The handler's. Never freed, since the signal may be on its way when an ExitAlarm ends.
std::string& LastWords() {
  static auto& words = *new std::string;
  return words;
}

void SetAlarm(absl::Duration in) {
  const itimerval timer = {.it_interval = {}, .it_value = absl::ToTimeval(in)};
  setitimer(ITIMER_REAL, &timer, nullptr);
}

void ChangeMaskOfAlarm(int how) {
  sigset_t alarm;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  pthread_sigmask(how, &alarm, nullptr);
}

// Only what may be called in a handler, and nothing that waits: the main thread may hold any lock,
// and nobody may read standard error.
void ExitNow(int /*signal_number*/, siginfo_t* info, void* /*context*/) {
  if (info->si_code <= 0) return;  // somebody sent it; the kernel's timer has a positive code
  const std::string& words = LastWords();
  pollfd error_stream = {.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&error_stream, 1, 0) == 1) {
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, words.data(), words.size());
  }
  _exit(kExitFailure);
}

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

ExitAlarm::ExitAlarm(absl::Duration limit, std::string says) {
  LastWords() = std::move(says) + "\n";
  struct sigaction action = {};
  action.sa_sigaction = &ExitNow;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGALRM, &action, nullptr);
  SetAlarm(limit);
  ChangeMaskOfAlarm(SIG_UNBLOCK);
}

ExitAlarm::~ExitAlarm() {
  SetAlarm(absl::ZeroDuration());
  ChangeMaskOfAlarm(SIG_BLOCK);
}

}  // namespace nodecomm
