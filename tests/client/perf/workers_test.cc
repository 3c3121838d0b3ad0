// Workers that succeed, fail, die and hang, as real processes.
// See client/perf/workers.h.
// Design note: client/perf/README.md.
#include "client/perf/workers.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/time/clock.h"
#include "tests/support/status_matchers.h"

namespace nodecomm::perf {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class WorkersTest : public ::testing::Test {
 protected:
  absl::Status Run(absl::FunctionRef<absl::Status(Rank)> work) {
    return RunWorkers(board_.get(), limits_, work, [this] { ++ticks_; });
  }

  const std::unique_ptr<Board> board_ = *Board::Create(WorldSize{3});
  WorkerLimits limits_{.stall_max = absl::Seconds(60), .grace = absl::Milliseconds(200)};
  int ticks_ = 0;
};

TEST_F(WorkersTest, EveryRankRunsInItsOwnProcessAndMeetsTheOthers) {
  const pid_t parent = ::getpid();
  EXPECT_OK(Run([&](Rank rank) {
    if (::getpid() == parent) return absl::InternalError("not a process of its own");
    board_->row(0).measurements[rank.value].wrong = static_cast<uint64_t>(rank.value) + 1;
    return board_->Barrier(absl::Seconds(30));
  }));
  EXPECT_EQ(board_->row(0).measurements[0].wrong, 1u);
  EXPECT_EQ(board_->row(0).measurements[2].wrong, 3u);
  EXPECT_GE(ticks_, 1);
}

TEST_F(WorkersTest, AFailureIsReportedWithItsCauseAndEndsTheOthers) {
  const absl::Status status = Run([&](Rank rank) {
    if (rank.value == 1) return absl::InternalError("no such GPU");
    return board_->Barrier(absl::Seconds(60));
  });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal, "rank 1: no such GPU"));
}

TEST_F(WorkersTest, ADeadWorkerIsReportedWithItsSignal) {
  const absl::Status status = Run([&](Rank rank) {
    if (rank.value == 2) ::raise(SIGKILL);
    return board_->Barrier(absl::Seconds(60));
  });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal,
                               AllOf(HasSubstr("rank 2: process"), HasSubstr("signal 9"),
                                     Not(HasSubstr("rank 0")))));
}

TEST_F(WorkersTest, AWorkerThatExitsByItselfIsReported) {
  EXPECT_THAT(Run([&](Rank rank) {
                if (rank.value == 0) ::_exit(7);
                return board_->Barrier(absl::Seconds(60));
              }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("ended with exit code 7")));
}

TEST_F(WorkersTest, AWorkerThatHangsAfterAFailureIsKilled) {
  EXPECT_THAT(Run([&](Rank rank) {
                if (rank.value == 0) return absl::InternalError("broken");
                for (;;) ::pause();
              }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("rank 0: broken")));
}

// One that was refused is told at once: nobody waits for those that wait for it.
TEST_F(WorkersTest, WorkersThatJoinAreNotWaitedForAfterAFailure) {
  limits_.grace = absl::Hours(1);
  EXPECT_THAT(Run([&](Rank rank) {
                if (rank.value == 0) return absl::InternalError("refused");
                board_->joining(rank) = true;
                for (;;) ::pause();
              }),
              StatusIs(absl::StatusCode::kInternal, "rank 0: refused"));
}

TEST_F(WorkersTest, ARunWithoutProgressEnds) {
  limits_.stall_max = absl::Milliseconds(100);
  EXPECT_THAT(Run([](Rank) -> absl::Status {
                for (;;) ::pause();
              }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("no rank made progress")));
}

// gRPC ends with the communicator, and waits for ever for a thread that it could not make.
TEST_F(WorkersTest, AWorkerThatNeverLeavesIsNamedAndKilled) {
  limits_.leave_max = absl::Milliseconds(100);
  EXPECT_THAT(Run([&](Rank rank) {
                if (rank.value != 1) return absl::OkStatus();
                board_->leaving(rank) = true;
                for (;;) ::pause();
              }),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("rank 1: did not end within 100ms"), HasSubstr("pids.max"),
                             Not(HasSubstr("rank 0")))));
}

TEST_F(WorkersTest, WorkersDieWithTheirParent) {
  // A process in between runs a worker that hangs, and is killed.
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t middle = ::fork();
  if (middle == 0) {
    ::close(pipe_ends[0]);
    (void)RunWorkers(
        board_.get(), limits_,
        [&](Rank) -> absl::Status {
          board_->NoteProgress();
          for (;;) ::pause();
        },
        [] {});
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (board_->progress() < 3 && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(2));
  ::kill(middle, SIGKILL);
  // The pipe ends once every process that holds its other end is gone.
  char byte;
  EXPECT_EQ(::read(pipe_ends[0], &byte, 1), 0);
  ::close(pipe_ends[0]);
  ::waitpid(middle, nullptr, 0);
}

}  // namespace
}  // namespace nodecomm::perf
