#include "daemon/process/child_process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/steady_clock.h"

namespace nodecomm {
namespace {

// A killed process ends at once unless it is stuck inside the driver; then nobody can help it.
constexpr absl::Duration kReapTimeout = absl::Seconds(5);

class SpawnSetup {
 public:
  SpawnSetup() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes_, 0);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
  }
  ~SpawnSetup() {
    posix_spawnattr_destroy(&attributes_);
    posix_spawn_file_actions_destroy(&actions_);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;

  // By way of a number that no child's descriptor has: one that was put in place must not be
  // covered before it is copied itself.
  absl::Status Pass(const ChildProcess::Fd& fd) {
    UniqueFd high(fcntl(fd.fd, F_DUPFD_CLOEXEC, ChildProcess::kChildFdMax + 1));
    if (!high.valid()) return absl::ErrnoToStatus(errno, "copying a descriptor for a child");
    posix_spawn_file_actions_adddup2(&actions_, high.get(), fd.number);
    copies_.push_back(std::move(high));
    return absl::OkStatus();
  }

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
  std::vector<UniqueFd> copies_;
};

bool WaitForEnd(int pidfd, absl::Duration timeout) {
  const SteadyTime deadline = SteadyNow() + timeout;
  while (true) {
    timespec left = absl::ToTimespec(std::max(deadline - SteadyNow(), absl::ZeroDuration()));
    pollfd waited = {pidfd, POLLIN, 0};
    const int ready = ppoll(&waited, 1, &left, nullptr);
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

}  // namespace

absl::StatusOr<std::string> ProgramBesideThisOne(std::string_view name) {
  std::array<char, PATH_MAX> path;
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  if (length < 0) {
    return absl::UnavailableError(absl::StrFormat(
        "looking for %s: %s", name, absl::ErrnoToStatus(errno, "/proc/self/exe").message()));
  }
  const std::string_view self(path.data(), static_cast<size_t>(length));
  return ProgramBeside(self.substr(0, self.rfind('/')), name);
}

std::string ProgramBeside(std::string_view directory, std::string_view name) {
  std::string beside = absl::StrFormat("%s/%s", directory, name);
  std::string installed = absl::StrFormat("%s/../libexec/nodecomm/%s", directory, name);
  if (access(beside.c_str(), X_OK) != 0 && access(installed.c_str(), X_OK) == 0) return installed;
  return beside;
}

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(const Options& options) {
  SpawnSetup setup;
  for (const Fd& fd : options.fds) {
    if (absl::Status passed = setup.Pass(fd); !passed.ok()) return passed;
  }
  std::vector<std::string> words = {options.program};
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, options.program.c_str(), setup.actions(), setup.attributes(),
                                argv.data(), environ);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrFormat("starting %s: %s; install all of nodecomm's programs", options.program,
                        absl::ErrnoToStatus(error, "posix_spawn").message()));
  }
  // Before anybody reaps it, so the id is surely still the child's.
  // (By syscall: the header of glibc 2.36 declares pidfd_open without extern "C".)
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) {
    const absl::Status status = absl::ErrnoToStatus(
        errno, absl::StrFormat("pidfd_open of %s, process %d", options.program, pid));
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return status;
  }
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid, std::move(pidfd)));
}

ChildProcess::~ChildProcess() { End(absl::ZeroDuration()); }

bool ChildProcess::HasEnded(absl::Duration timeout) const {
  return !ending_.empty() || WaitForEnd(pidfd_.get(), timeout);
}

std::string ChildProcess::End(absl::Duration grace) {
  if (!ending_.empty()) return ending_;
  if (!WaitForEnd(pidfd_.get(), grace)) {
    // Its id is its own until it is reaped, which only happens here.
    kill(pid_, SIGKILL);
  }
  siginfo_t info = {};
  if (!WaitForEnd(pidfd_.get(), kReapTimeout)) {
    // It becomes a zombie of the daemon if it ever ends; better than a daemon that hangs with it.
    ending_ = "was killed but does not end (is the driver stuck?)";
  } else if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) != 0) {
    ending_ = "has ended in an unknown way";
  } else if (info.si_code == CLD_EXITED) {
    exit_code_ = info.si_status;
    ending_ = absl::StrFormat("exited with code %d", info.si_status);
  } else {
    ending_ = absl::StrFormat("was ended by signal %d", info.si_status);
  }
  return ending_;
}

}  // namespace nodecomm
