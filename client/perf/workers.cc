// See workers.h.
#include "client/perf/workers.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/base/steady_clock.h"

namespace nodecomm::perf {
namespace {

constexpr absl::Duration kTickTime = absl::Milliseconds(2);

[[noreturn]] void RunChild(Board* board, Rank rank, pid_t parent,
                           absl::FunctionRef<absl::Status(Rank)> work) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before the line above.
  if (::getppid() != parent) ::_exit(1);
  const absl::Status status = work(rank);
  // A rank that only stopped because another had failed has nothing to add.
  const bool follows = absl::IsAborted(status) && board->failed();
  if (!status.ok() && !follows) board->ReportFailure(rank, status.message());
  std::fflush(nullptr);
  // Not exit(): what the parent had registered for its own end must not run here.
  ::_exit(status.ok() ? 0 : 1);
}

// The workers that have not been waited for; kills those left at the end.
class Children {
 public:
  Children() = default;
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;
  ~Children() { KillAll(); }

  void Add(Rank rank, pid_t pid) {
    pids_[rank.value] = pid;
    ++alive_;
  }
  int alive() const { return alive_; }

  // Takes note of those that have ended.
  void Reap(Board* board) {
    for (int rank = 0; rank < kWorldSizeMax; ++rank) {
      if (pids_[rank] == 0) continue;
      int state = 0;
      if (::waitpid(pids_[rank], &state, WNOHANG) != pids_[rank]) continue;
      if (WIFSIGNALED(state)) {
        board->ReportFailure(Rank{rank},
                             absl::StrFormat("process %d was killed by signal %d (%s)", pids_[rank],
                                             WTERMSIG(state), ::strsignal(WTERMSIG(state))));
      } else if (WEXITSTATUS(state) != 0) {
        // A worker that failed has said why or followed another; this is for one that a library
        // ended.
        if (!board->failed())
          board->ReportFailure(Rank{rank}, absl::StrFormat("process %d ended with exit code %d",
                                                           pids_[rank], WEXITSTATUS(state)));
      }
      pids_[rank] = 0;
      --alive_;
    }
  }

  // One that gives up its communicator at this moment.
  std::optional<Rank> FindLeaving(Board* board) const {
    for (int rank = 0; rank < board->ranks().value; ++rank) {
      if (pids_[rank] != 0 && board->leaving(Rank{rank})) return Rank{rank};
    }
    return std::nullopt;
  }

  void KillAll() {
    for (int rank = 0; rank < kWorldSizeMax; ++rank) Kill(rank);
  }
  void KillJoining(Board* board) {
    for (int rank = 0; rank < board->ranks().value; ++rank) {
      if (board->joining(Rank{rank})) Kill(rank);
    }
  }

 private:
  void Kill(int rank) {
    pid_t& pid = pids_[rank];
    if (pid == 0) return;
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid = 0;
    --alive_;
  }

  std::array<pid_t, kWorldSizeMax> pids_{};
  int alive_ = 0;
};

}  // namespace

absl::Status RunWorkers(Board* board, const WorkerLimits& limits,
                        absl::FunctionRef<absl::Status(Rank)> work,
                        absl::FunctionRef<void()> tick) {
  // What is in the buffers now must not be printed by every child.
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  Children children;
  for (int rank = 0; rank < board->ranks().value; ++rank) {
    const pid_t pid = ::fork();
    if (pid == 0) RunChild(board, Rank{rank}, parent, work);
    if (pid < 0) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("starting rank %d: fork: %s", rank, std::strerror(errno)));
    }
    children.Add(Rank{rank}, pid);
  }

  uint64_t progress = board->progress();
  SteadyTime progress_time = SteadyNow();
  SteadyTime failure_time = SteadyTime::InfiniteFuture();
  while (children.alive() > 0) {
    children.Reap(board);
    tick();
    const SteadyTime now = SteadyNow();
    if (board->progress() != progress) {
      progress = board->progress();
      progress_time = now;
    } else if (const auto leaving = children.FindLeaving(board);
               now - progress_time > limits.leave_max && leaving.has_value() && !board->failed()) {
      board->ReportFailure(
          *leaving,
          absl::StrFormat("did not end within %s of its last call, which has its result: gRPC "
                          "waits in it for a thread that could not be made, or the daemon hangs; "
                          "raise the user's limit on processes (ulimit -u) or pids.max of the "
                          "cgroup, and see nodecommctl doctor",
                          absl::FormatDuration(limits.leave_max)));
    } else if (now - progress_time > limits.stall_max && !board->failed()) {
      board->ReportFailure(
          absl::StrFormat("no rank made progress for %s", absl::FormatDuration(limits.stall_max)));
    }
    if (board->failed() && failure_time == SteadyTime::InfiniteFuture()) failure_time = now;
    if (now - failure_time > limits.join_grace) children.KillJoining(board);
    if (now - failure_time > limits.grace) children.KillAll();
    if (children.alive() > 0) absl::SleepFor(kTickTime);
  }
  tick();
  if (!board->failed()) return absl::OkStatus();
  return absl::InternalError(absl::StripTrailingAsciiWhitespace(board->FailureText()));
}

}  // namespace nodecomm::perf
