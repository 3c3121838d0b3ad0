// The barrier and the failure texts, with threads in the place of processes.
// See client/perf/board.h.
// Design note: client/perf/README.md.
#include "client/perf/board.h"

#include <thread>
#include <vector>

#include "tests/support/status_matchers.h"

namespace nodecomm::perf {
namespace {

using ::absl_testing::StatusIs;

TEST(Board, RefusesWorldSizesThatItHasNoPlacesFor) {
  EXPECT_THAT(Board::Create(WorldSize{0}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Board::Create(WorldSize{9}), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(Board, BarrierKeepsRanksTogetherOverManyRounds) {
  constexpr int kRanks = 4;
  constexpr int kRounds = 200;
  const std::unique_ptr<Board> board = *Board::Create(WorldSize{kRanks});
  std::atomic<int> entered = 0;
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  threads.reserve(kRanks);
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&] {
      for (int round = 1; round <= kRounds; ++round) {
        ++entered;
        if (!board->Barrier(absl::Seconds(60)).ok()) ++failures;
        if (entered < round * kRanks) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST(Board, BarrierGivesUpAtItsDeadline) {
  const std::unique_ptr<Board> board = *Board::Create(WorldSize{2});
  EXPECT_THAT(board->Barrier(absl::Milliseconds(30)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST(Board, BarrierEndsWhenARankFails) {
  const std::unique_ptr<Board> board = *Board::Create(WorldSize{2});
  std::thread other([&] { board->ReportFailure(Rank{1}, "broken"); });
  EXPECT_THAT(board->Barrier(absl::Seconds(60)), StatusIs(absl::StatusCode::kAborted));
  other.join();
  EXPECT_EQ(board->FailureText(), "rank 1: broken\n");
}

TEST(Board, KeepsTheFirstFailureOfEachRankAndCutsLongOnes) {
  const std::unique_ptr<Board> board = *Board::Create(WorldSize{3});
  EXPECT_FALSE(board->failed());
  EXPECT_EQ(board->FailureText(), "");
  board->ReportFailure(Rank{2}, "first");
  board->ReportFailure(Rank{2}, "second");
  board->ReportFailure("the run");
  board->ReportFailure(Rank{0}, std::string(5000, 'x'));
  EXPECT_TRUE(board->failed());
  EXPECT_EQ(board->FailureText(),
            "the run\nrank 0: " + std::string(1023, 'x') + "\nrank 2: first\n");
}

}  // namespace
}  // namespace nodecomm::perf
