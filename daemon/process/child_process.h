// A program that the daemon runs beside itself: started with the descriptors it is given and no
// others, killed and reaped at the latest with this object. Not a shell, not a service manager:
// whoever needs the program again starts it again. Design note: daemon/README.md, "programs".
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/unique_fd.h"

namespace nodecomm {

// The path of a program that the daemon's own directory has, as in a build tree, or else
// ../libexec/nodecomm, as where it is installed. The former, if neither has it.
absl::StatusOr<std::string> ProgramBesideThisOne(std::string_view name);
// The same for a daemon in `directory`.
std::string ProgramBeside(std::string_view directory, std::string_view name);

// One thread at a time.
class ChildProcess {
 public:
  // What the child finds as descriptor `number`, which is at most kChildFdMax.
  struct Fd {
    int number = 0;
    int fd = -1;  // the caller's own, which stays open here
  };
  struct Options {
    std::string program;
    std::vector<std::string> arguments;  // without the program's name
    std::vector<Fd> fds;                 // what of 0, 1 and 2 is not named is the daemon's own
  };
  static constexpr int kChildFdMax = 15;

  // Unavailable: the program can't be executed. In a process group of its own, so that the
  // terminal's Ctrl-C does not reach it before the daemon has decided; with no signal blocked.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const Options& options);
  // Kills and reaps.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Whether it has ended, after waiting at most `timeout` for that.
  bool HasEnded(absl::Duration timeout) const;

  // Lets it end by itself for `grace`, then kills it; waits, bounded, and reaps. How it ended, for
  // people: "exited with code 1", "was ended by signal 9". Idempotent.
  std::string End(absl::Duration grace);
  // Once End() was called: whether it exited by itself, with this code.
  bool exited_with(int code) const { return exit_code_ == code; }

 private:
  ChildProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

  pid_t pid_;
  UniqueFd pidfd_;
  int exit_code_ = -1;  // of a child that was not ended by a signal
  std::string ending_;  // not empty: reaped, or given up
};

}  // namespace nodecomm
