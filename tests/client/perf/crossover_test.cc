// The figures of a sweep, from times made up for them.
// See client/perf/crossover.h.
// Design note: client/perf/README.md, "sweep".
#include "client/perf/crossover.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/perf/sizes.h"

namespace nodecomm::perf {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// `kib` of float32; auto takes what it chose.
Comparison At(size_t kib, double one_shot_us, double two_shot_us, nodecomm_algorithm chosen) {
  return {.size = {NODECOMM_FLOAT32, kib * 256},
          .auto_us = chosen == NODECOMM_ALGORITHM_ONE_SHOT ? one_shot_us : two_shot_us,
          .one_shot_us = one_shot_us,
          .two_shot_us = two_shot_us,
          .chosen = chosen};
}

constexpr nodecomm_algorithm kOne = NODECOMM_ALGORITHM_ONE_SHOT;
constexpr nodecomm_algorithm kTwo = NODECOMM_ALGORITHM_TWO_SHOT;

TEST(Comparison, LossIsWhatAutoTakesLongerThanTheFastest) {
  Comparison comparison = At(1, 10, 8, kOne);
  EXPECT_EQ(comparison.Fastest(), kTwo);
  EXPECT_DOUBLE_EQ(comparison.AutoLossPercent(), 25);
  EXPECT_DOUBLE_EQ(comparison.TwoShotGainPercent(), 20);
  comparison.auto_us = 6;
  EXPECT_DOUBLE_EQ(comparison.AutoLossPercent(), -25);
  EXPECT_EQ(At(1, 8, 8, kTwo).Fastest(), kOne);
}

TEST(CompareAlgorithms, PutsTheRowsOfASizeTogether) {
  Options options;
  options.ranks = WorldSize{2};
  options.sweep = true;
  options.bytes_max = {2048};
  const std::vector<Case> cases = *ListCases(options);
  ASSERT_EQ(cases.size(), 9u);  // 1, 1.5 and 2 KiB
  const auto board = *Board::Create(options.ranks);
  for (size_t i = 0; i < cases.size(); ++i) {
    board->row(i).algorithm = i < 3 ? kTwo : cases[i].requested;
    board->row(i).measurements[0] = {.latency_us = static_cast<double>(i), .wrong = i};
    board->row(i).measurements[1] = {.latency_us = static_cast<double>(10 + i)};
  }
  board->row(1).measurements[1].nccl_latency_us = 77;

  const auto comparisons = CompareAlgorithms(cases, options.ranks, *board);
  ASSERT_EQ(comparisons.size(), 3u);
  EXPECT_EQ(comparisons[1].size.bytes().value, 1536u);
  EXPECT_EQ(comparisons[1].auto_us, 11);
  EXPECT_EQ(comparisons[1].one_shot_us, 14);
  EXPECT_EQ(comparisons[1].two_shot_us, 17);
  EXPECT_EQ(comparisons[1].nccl_us, 77);
  EXPECT_EQ(comparisons[1].chosen, kTwo);
  EXPECT_EQ(comparisons[1].wrong, 12u);
}

TEST(CompareAlgorithms, LeavesOutSizesThatLackAnAlgorithm) {
  Options options;
  options.sweep = true;
  options.bytes_max = {2048};
  const std::vector<Case> cases = *ListCases(options);
  const auto board = *Board::Create(options.ranks);
  const std::span<const Case> all(cases);
  for (const size_t complete : {0, 2, 6}) {
    EXPECT_THAT(CompareAlgorithms(all.first(complete), options.ranks, *board), IsEmpty());
  }
  EXPECT_EQ(CompareAlgorithms(all.first(8), options.ranks, *board).size(), 2u);
}

TEST(FindCrossovers, FindsTheLargestSizeThatOneShotWins) {
  const auto crossovers =
      FindCrossovers(std::vector{At(1, 3, 5, kOne), At(2, 4, 6, kOne), At(3, 6, 7, kTwo),
                                 At(4, 9, 8, kTwo), At(6, 12, 9, kTwo)});
  ASSERT_EQ(crossovers.size(), 1u);
  EXPECT_EQ(crossovers[0].one_shot_max, ByteCount{3072});
  EXPECT_EQ(crossovers[0].two_shot_min, ByteCount{4096});
  EXPECT_THAT(crossovers[0].exceptions, IsEmpty());
  EXPECT_EQ(crossovers[0].auto_one_shot_max, ByteCount{2048});
  EXPECT_NEAR(crossovers[0].auto_loss_percent_max, 100.0 / 6, 1e-9);
  EXPECT_EQ(crossovers[0].auto_loss_bytes, ByteCount{3072});
}

TEST(FindCrossovers, NamesTheSizesWhereItIsNotMonotonic) {
  const auto crossovers =
      FindCrossovers(std::vector{At(1, 10, 9, kOne), At(2, 4, 6, kOne), At(3, 10, 8, kOne),
                                 At(4, 7, 8, kOne), At(6, 12, 9, kTwo)});
  EXPECT_EQ(crossovers[0].one_shot_max, ByteCount{4096});
  EXPECT_EQ(crossovers[0].two_shot_min, ByteCount{6144});
  EXPECT_THAT(crossovers[0].exceptions, ElementsAre(ByteCount{1024}, ByteCount{3072}));
  EXPECT_NEAR(crossovers[0].exception_percent_max, 20, 1e-9);
}

TEST(FindCrossovers, KnowsThatThereMayBeNone) {
  const auto always = FindCrossovers(std::vector{At(1, 1, 2, kOne), At(2, 1, 2, kOne)});
  EXPECT_EQ(always[0].one_shot_max, ByteCount{2048});
  EXPECT_EQ(always[0].two_shot_min, std::nullopt);
  const auto never = FindCrossovers(std::vector{At(1, 2, 1, kTwo), At(2, 2, 1, kTwo)});
  EXPECT_EQ(never[0].one_shot_max, std::nullopt);
  EXPECT_EQ(never[0].two_shot_min, ByteCount{1024});
  EXPECT_THAT(never[0].exceptions, IsEmpty());
  EXPECT_EQ(never[0].auto_one_shot_max, std::nullopt);
  EXPECT_THAT(FindCrossovers({}), IsEmpty());
}

TEST(FindCrossovers, KeepsTypesApart) {
  std::vector<Comparison> comparisons{At(1, 1, 2, kOne), At(2, 2, 1, kOne), At(1, 1, 2, kOne),
                                      At(2, 1, 2, kOne)};
  comparisons[2].size = {NODECOMM_BFLOAT16, 512};
  comparisons[3].size = {NODECOMM_BFLOAT16, 1024};
  const auto crossovers = FindCrossovers(comparisons);
  ASSERT_EQ(crossovers.size(), 2u);
  EXPECT_EQ(crossovers[0].one_shot_max, ByteCount{1024});
  EXPECT_EQ(crossovers[1].type, NODECOMM_BFLOAT16);
  EXPECT_EQ(crossovers[1].one_shot_max, ByteCount{2048});
}

}  // namespace
}  // namespace nodecomm::perf
