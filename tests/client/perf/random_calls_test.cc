// What ranks must agree on and what they may choose, and that the choice covers what it should.
// See client/perf/random_calls.h.
// Design note: client/perf/README.md.
#include "client/perf/random_calls.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace nodecomm::perf {
namespace {

constexpr uint64_t kBatches = 500;

TEST(MakeBatch, RanksAgreeOnEverythingButPlacement) {
  bool placed_differently = false;
  for (uint64_t index = 0; index < kBatches; ++index) {
    const Batch a = MakeBatch(1, index, Rank{0});
    const Batch b = MakeBatch(1, index, Rank{3});
    ASSERT_EQ(a.graph, b.graph);
    ASSERT_EQ(a.layout.calls().size(), b.layout.calls().size());
    for (size_t i = 0; i < a.layout.calls().size(); ++i) {
      const ArenaCall& x = a.layout.calls()[i];
      const ArenaCall& y = b.layout.calls()[i];
      ASSERT_EQ(x.type, y.type);
      ASSERT_EQ(x.count, y.count);
      ASSERT_EQ(x.first_element, y.first_element);
      placed_differently |= x.in_offset != y.in_offset;
    }
  }
  EXPECT_TRUE(placed_differently);
}

TEST(ChooseDelay, IsRareBoundedAndEachRanksOwn) {
  int late = 0;
  int together = 0;
  absl::Duration longest;
  for (uint64_t index = 0; index < kBatches; ++index) {
    const absl::Duration delay = ChooseDelay(1, index, 0, Rank{0});
    longest = std::max(longest, delay);
    late += delay > absl::ZeroDuration();
    together += delay > absl::ZeroDuration() && ChooseDelay(1, index, 0, Rank{1}) == delay;
    EXPECT_EQ(ChooseDelay(1, index, 0, Rank{0}), delay);
  }
  EXPECT_GT(late, static_cast<int>(kBatches) / 32);
  EXPECT_LT(late, static_cast<int>(kBatches) / 8);
  EXPECT_EQ(together, 0);
  EXPECT_GT(longest, absl::Milliseconds(5));
  EXPECT_LE(longest, absl::Milliseconds(10));
}

TEST(MakeBatch, StaysWithinItsBounds) {
  for (uint64_t index = 0; index < kBatches; ++index) {
    const Batch batch = MakeBatch(2, index, Rank{1});
    ASSERT_GE(batch.layout.calls().size(), 1u);
    ASSERT_LE(batch.layout.calls().size(), static_cast<size_t>(kBatchCallsMax));
    ASSERT_LE(batch.layout.used(), BatchArenaBytes());
    for (const ArenaCall& call : batch.layout.calls()) {
      ASSERT_LE(call.bytes(), kRandomMessageMax.value);
      ASSERT_LT(call.first_element, kFirstElementMax);
      ASSERT_EQ(call.in_offset % TypeBytes(call.type), 0u);
      ASSERT_EQ(call.out_offset % TypeBytes(call.type), 0u);
    }
  }
}

TEST(MakeBatch, CoversTypesPlacementsSizesAndModes) {
  std::set<nodecomm_type> types;
  int graphs = 0, in_place = 0, unaligned = 0, odd = 0, empty = 0, large = 0, small = 0, calls = 0;
  for (uint64_t index = 0; index < kBatches; ++index) {
    const Batch batch = MakeBatch(3, index, Rank{0});
    graphs += batch.graph;
    for (const ArenaCall& call : batch.layout.calls()) {
      ++calls;
      types.insert(call.type);
      in_place += call.in_offset == call.out_offset;
      unaligned += call.in_offset % 16 != 0;
      odd += call.count % 2;
      empty += call.count == 0;
      large += call.bytes() > (1 << 20);
      small += call.bytes() < 64;
    }
  }
  EXPECT_EQ(types.size(), 3u);
  EXPECT_GT(graphs, 200);
  EXPECT_LT(graphs, 300);
  EXPECT_GT(in_place, calls / 3);
  EXPECT_GT(unaligned, calls / 5);
  EXPECT_GT(odd, calls / 4);
  EXPECT_GT(empty, 0);
  EXPECT_GT(large, calls / 30);
  EXPECT_GT(small, calls / 10);
}

TEST(MakeBatch, IsDecidedBySeedAndIndex) {
  const auto bytes = [](uint64_t seed, uint64_t index) {
    const Batch batch = MakeBatch(seed, index, Rank{0});
    size_t sum = 0;
    for (const ArenaCall& call : batch.layout.calls()) sum += call.bytes();
    return sum;
  };
  EXPECT_EQ(bytes(1, 5), bytes(1, 5));
  EXPECT_NE(bytes(1, 5), bytes(2, 5));
  EXPECT_NE(bytes(1, 5), bytes(1, 6));
}

TEST(ChooseData, GivesEveryRoundOtherData) {
  Batch batch = MakeBatch(1, 0, Rank{0});
  const uint32_t first = batch.layout.calls()[0].first_element;
  ChooseData(1, 0, 1, &batch.layout);
  EXPECT_NE(batch.layout.calls()[0].first_element, first);
  ChooseData(1, 0, 0, &batch.layout);
  EXPECT_EQ(batch.layout.calls()[0].first_element, first);
}

}  // namespace
}  // namespace nodecomm::perf
