// What every implementation of the all-reduce must do: run on host threads in
// all_reduce_host_test.cc, on GPUs in tests/gpu/all_reduce_gpu_test.cc.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/selection.h"
#include "tests/kernels/rank_group.h"
#include "tests/kernels/reference.h"

namespace nodecomm::kernels {

inline constexpr ElementType kTypes[] = {ElementType::kFloat32, ElementType::kFloat16,
                                         ElementType::kBfloat16};

class AllReduceConformance : public testing::TestWithParam<GroupFactory> {
 protected:
  // Null where the machine has no such group: the test is then skipped, or fails if
  // NODECOMM_REQUIRE_GPU=1.
  std::unique_ptr<RankGroup> Make(const GroupOptions& options) {
    std::string why_not;
    std::unique_ptr<RankGroup> group = GetParam()(options, &why_not);
    if (group == nullptr) {
      const char* require = std::getenv("NODECOMM_REQUIRE_GPU");
      EXPECT_FALSE(require != nullptr && require[0] == '1') << why_not;
    }
    return group;
  }

  static CallSpec Plain(ElementType type, size_t count, uint64_t seed, int ranks) {
    CallSpec call = {.type = type, .count = count, .seed = seed};
    call.in_offset.assign(ranks, 0);
    call.out_offset.assign(ranks, 0);
    call.in_place.assign(ranks, false);
    return call;
  }

  // Ranks hold their buffers differently: the result must not depend on it.
  static CallSpec Mixed(ElementType type, size_t count, uint64_t seed, int ranks) {
    CallSpec call = Plain(type, count, seed, ranks);
    for (int r = 0; r < ranks; ++r) {
      call.in_offset[r] = (r + static_cast<int>(seed)) % 5;
      call.out_offset[r] = (3 * r + static_cast<int>(seed)) % 7;
      call.in_place[r] = (r + seed) % 3 == 0;
    }
    return call;
  }

  // The counts of elements up to `bytes_max` whose calls are planned otherwise than with one
  // element less: by another algorithm, in another number of launches or chunks, or by other code.
  static std::vector<size_t> SwitchOvers(ByteCount plane_bytes, int ranks, ElementType type,
                                         size_t bytes_max) {
    const GroupShape shape = {.world_size = WorldSize{ranks},
                              .layout = LayOutPlane(plane_bytes, WorldSize{ranks}),
                              .multiprocessors = GroupOptions{}.multiprocessors};
    const size_t size = ElementBytes(type);
    const auto plan_of = [&](size_t count) {
      const size_t bytes = count * size;
      const Plan plan = SelectPlan(ByteCount{bytes}, type, shape);
      const LaunchPlan launch =
          PlanLaunch(plan, ByteCount{std::min(bytes, plan.launch_bytes)}, shape);
      const size_t launches = (bytes + plan.launch_bytes - 1) / plan.launch_bytes;
      return std::tuple(plan.algorithm, launches, launch.chunks, launch.HasPacketAThread());
    };
    std::vector<size_t> counts;
    // No two come closer than that.
    const size_t step = (size_t{16} << 10) / size;
    for (size_t below = 1; below * size < bytes_max; below += step) {
      if (plan_of(below) == plan_of(below + step)) continue;
      size_t same = below;
      size_t other = below + step;
      while (other - same > 1) {
        const size_t middle = (same + other) / 2;
        (plan_of(middle) == plan_of(below) ? same : other) = middle;
      }
      counts.push_back(other);
    }
    return counts;
  }

  static void AddBothSides(const std::vector<size_t>& counts, ElementType type, int ranks,
                           RankGroup::Run& run) {
    for (const size_t count : counts) {
      run.calls.push_back(Mixed(type, count - 1, count, ranks));
      run.calls.push_back(Mixed(type, count, count + 1, ranks));
    }
  }

  // Runs the calls and compares every rank's every output with the reference, and the ranks with
  // each other.
  static void ExpectRight(RankGroup& group, const RankGroup::Run& run, int ranks) {
    const std::vector<RankOutcome> outcomes = group.Execute(run);
    ASSERT_EQ(outcomes.size(), static_cast<size_t>(ranks));
    for (int r = 0; r < ranks; ++r) {
      ASSERT_TRUE(outcomes[r].status.ok())
          << "rank " << r << " of " << ranks << ", after " << outcomes[r].outputs.size()
          << " calls: " << outcomes[r].status;
      EXPECT_EQ(outcomes[r].guards_broken, 0u) << "rank " << r << " wrote outside its buffers";
      ASSERT_EQ(outcomes[r].outputs.size(), run.calls.size());
    }
    for (size_t c = 0; c < run.calls.size(); ++c) {
      const CallSpec& call = run.calls[c];
      std::vector<std::vector<uint8_t>> inputs;
      for (int r = 0; r < ranks; ++r) {
        inputs.push_back(MakeInput(call.type, call.count, Rank{r}, call.seed, call.density));
      }
      const std::vector<uint8_t> expected = ReferenceSum(call.type, inputs);
      for (int r = 0; r < ranks; ++r) {
        ASSERT_EQ(outcomes[r].outputs[c].size(), expected.size());
        EXPECT_EQ(CountDifferent(call.type, outcomes[r].outputs[c].data(), expected), 0u)
            << "call " << c << " of " << call.count << " elements of type "
            << static_cast<int>(call.type) << ", rank " << r;
        EXPECT_EQ(outcomes[r].outputs[c], outcomes[0].outputs[c])
            << "call " << c << ": ranks " << r << " and 0 hold different bits";
      }
    }
  }
};

// Makes `group` or leaves the test.
#define NODECOMM_MAKE_GROUP(group, ...)                              \
  std::unique_ptr<RankGroup> group = Make(GroupOptions __VA_ARGS__); \
  if (group == nullptr) GTEST_SKIP() << "this machine cannot run such a group"

TEST_P(AllReduceConformance, IsRightAtEveryWorldSizeTypeAndSmallCount) {
  for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}});
    RankGroup::Run run;
    uint64_t seed = 0;
    for (const ElementType type : kTypes) {
      for (const size_t count : {0, 1, 2, 3, 5, 6, 7, 11, 12, 13, 97, 1024, 4099}) {
        run.calls.push_back(Mixed(type, count, ++seed, ranks));
      }
    }
    ExpectRight(*group, run, ranks);
  }
}

TEST_P(AllReduceConformance, IsRightOnBothSidesOfTheFirstSwitchOversOfTheSmallestPlane) {
  for (const int ranks : {2, 3, 4, 8}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}});
    RankGroup::Run run;
    for (const ElementType type : {ElementType::kFloat32, ElementType::kBfloat16}) {
      std::vector<size_t> counts = SwitchOvers(kPlaneBytesMin, ranks, type, 3u << 20);
      ASSERT_GE(counts.size(), 2u) << "the sizes tried cross no switch-over";
      // The changes of algorithm, and of the number of launches or chunks.
      counts.resize(std::min<size_t>(counts.size(), 4));
      AddBothSides(counts, type, ranks, run);
    }
    ExpectRight(*group, run, ranks);
  }
}

TEST_P(AllReduceConformance, MessagesLargerThanThePlaneGoThroughInChunks) {
  for (const int ranks : {2, 4}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}});
    // Of an odd and an even number of chunks, with small ones between: whichever part a call begins
    // with, the one before may have used it last.
    ExpectRight(*group,
                {.calls = {Mixed(ElementType::kBfloat16, (3 << 20) + 3, 7, ranks),
                           Mixed(ElementType::kFloat32, 100, 9, ranks),
                           Mixed(ElementType::kFloat32, 1'000'001, 10, ranks),
                           Mixed(ElementType::kFloat32, 400'000, 11, ranks),
                           Mixed(ElementType::kFloat16, 1 << 20, 12, ranks)}},
                ranks);
  }
}

TEST_P(AllReduceConformance, ChunksOfARankThatIsLateAreWaitedFor) {
  for (const int ranks : {2, 3}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}});
    RankGroup::Run run = {.delayed = 1};
    for (uint64_t i = 0; i < 4; ++i) {
      run.calls.push_back(Plain(ElementType::kFloat32, (1 << 20) + 77 * i, i, ranks));
    }
    ExpectRight(*group, run, ranks);
  }
}

// A launch of several chunks takes as many epochs, here over the largest, and over those that clear
// what carries epochs.
TEST_P(AllReduceConformance, EpochsOfSeveralChunksWrapToo) {
  for (const int ranks : {2, 4}) {
    for (const uint32_t last : {0xfffffffdu, 0x7ffffffeu, 0u}) {
      NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}});
      group->SetLastEpoch(last);
      RankGroup::Run run;
      for (uint64_t i = 0; i < 4; ++i) {
        run.calls.push_back(
            Mixed(ElementType::kFloat32, i % 2 == 0 ? (1 << 20) + 9 : 500, i, ranks));
      }
      ExpectRight(*group, run, ranks);
    }
  }
}

TEST_P(AllReduceConformance, AMissingRankEndsACallOfManyChunksAtTheDeadline) {
  for (const int ranks : {2, 3}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}});
    const CallSpec call = Plain(ElementType::kFloat32, 1 << 20, 1, ranks);
    ExpectRight(*group, {.calls = {call}}, ranks);
    const std::vector<RankOutcome> outcomes =
        group->Execute({.calls = {call}, .absent = {1}, .timeout_ns = 50'000'000});
    EXPECT_EQ(outcomes[0].status.code(), absl::StatusCode::kAborted) << outcomes[0].status;
    bool named = false;
    for (const int r : {0, ranks - 1}) {
      const FailureRecord failure = group->Failure(Rank{r});
      named |= failure.state == FailureRecord::kTimeout && failure.missing_rank == 1;
    }
    EXPECT_TRUE(named) << "no rank's record says that rank 1 timed out";
  }
}

TEST_P(AllReduceConformance, ZerosOfBothSignsArriveAsTheyWere) {
  for (const int ranks : {2, 4}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}});
    RankGroup::Run run;
    for (const ElementType type : kTypes) {
      for (const size_t count : {500, 300'000}) {
        run.calls.push_back(Mixed(type, count, count, ranks));
        run.calls.back().density = Density::kSparse;
      }
    }
    ExpectRight(*group, run, ranks);
  }
}

TEST_P(AllReduceConformance, EveryAlgorithmServesEverySize) {
  for (const Algorithm algorithm : {Algorithm::kOneShot, Algorithm::kTwoShot}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{4}, .algorithm_override = algorithm});
    RankGroup::Run run;
    for (const size_t count : {1, 5, 1000, 100'003, 1'000'001}) {
      run.calls.push_back(Mixed(ElementType::kFloat16, count, count, 4));
    }
    ExpectRight(*group, run, 4);
  }
}

TEST_P(AllReduceConformance, SizesAndTypesMayChangeFromCallToCall) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{4}});
  std::mt19937_64 random(20261122);
  RankGroup::Run run;
  for (int i = 0; i < 150; ++i) {
    const double exponent = std::uniform_real_distribution<double>(0, 18)(random);
    const size_t count = static_cast<size_t>(std::exp2(exponent));
    run.calls.push_back(Mixed(kTypes[random() % 3], count, random() % 1000, 4));
  }
  ExpectRight(*group, run, 4);
}

TEST_P(AllReduceConformance, ARankThatIsLateByManyCallsIsWaitedFor) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}});
  RankGroup::Run run = {.delayed = 1};
  for (uint64_t i = 0; i < 20; ++i) {
    run.calls.push_back(Plain(ElementType::kFloat32, i % 2 == 0 ? 64 : 70'000, i, 3));
  }
  ExpectRight(*group, run, 3);
}

TEST_P(AllReduceConformance, EpochsWrapWithoutZeroAndKeepAlternating) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{4}});
  group->SetLastEpoch(0xfffffffcu);
  RankGroup::Run run;
  for (uint64_t i = 0; i < 8; ++i) {
    run.calls.push_back(Mixed(ElementType::kBfloat16, i % 2 == 0 ? 4000 : 100'000, i, 4));
  }
  // Each call is one chunk: three epochs to the largest, then 4, 5, 6, 7, 8.
  ExpectRight(*group, run, 4);
  for (int r = 0; r < 4; ++r) EXPECT_EQ(group->Epoch(Rank{r}), 8u) << "rank " << r;
}

TEST_P(AllReduceConformance, CreditsOfTheSameEpochTwoToThe32ChunksAgoAreNotTaken) {
  // Elements, by what serves them.
  constexpr size_t kOneShot = 16;
  constexpr size_t kStream = 500'000;
  const GroupShape shape = {.world_size = WorldSize{4},
                            .layout = LayOutPlane(kPlaneBytesMin, WorldSize{4}),
                            .multiprocessors = 132};
  const Plan plan = SelectPlan(ByteCount{4 * kStream}, ElementType::kFloat32, shape);
  ASSERT_GT(PlanLaunch(plan, ByteCount{4 * kStream}, shape).chunks, kRegionParts);
  for (const size_t clearing : {kOneShot, kStream}) {
    for (const uint32_t turn : {0x80000004u, 4u}) {
      NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{4}});
      // The last call before the one that clears; over the wrap that is the largest epoch.
      group->SetLastEpoch(turn == 4u ? 0xffffffffu : turn - 1);
      // Further than the calls come: who took it would wait for no credit.
      const uint32_t planted = turn + 100;
      group->PlantCredits(planted);
      RankGroup::Run run;
      uint64_t seed = 0;
      for (const size_t count : {clearing, kStream}) {
        run.calls.push_back(Mixed(ElementType::kFloat32, count, ++seed, 4));
      }
      ExpectRight(*group, run, 4);
      EXPECT_EQ(group->CountCredits(planted), 0u) << clearing << " elements at epoch " << turn;
    }
  }
}

TEST_P(AllReduceConformance, AMissingRankEndsTheCallAtTheDeadlineAndIsNamed) {
  for (const size_t count : {16, 200'000}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}});
    const std::vector<RankOutcome> outcomes =
        group->Execute({.calls = {Plain(ElementType::kFloat32, count, 1, 3)},
                        .absent = {2},
                        .timeout_ns = 50'000'000});
    bool named = false;
    for (const int r : {0, 1}) {
      EXPECT_EQ(outcomes[r].status.code(), absl::StatusCode::kAborted) << outcomes[r].status;
      const FailureRecord failure = group->Failure(Rank{r});
      EXPECT_NE(failure.state, FailureRecord::kNone);
      EXPECT_EQ(failure.epoch, 1u);
      named |= failure.state == FailureRecord::kTimeout && failure.missing_rank == 2;
    }
    EXPECT_TRUE(named) << "no rank's record says that rank 2 timed out";
    // The generation is over: a later call ends at once, with everybody there.
    const std::vector<RankOutcome> later =
        group->Execute({.calls = {Plain(ElementType::kFloat32, count, 2, 3)}});
    for (const int r : {0, 1}) {
      EXPECT_EQ(later[r].status.code(), absl::StatusCode::kAborted) << later[r].status;
    }
  }
}

// Without checked mode, too: one rank's call differs from all others'.
TEST_P(AllReduceConformance, CallsThatDifferEndTheGroupAtTheDeadline) {
  struct Kind {
    ElementType type;
    size_t count;
  };
  constexpr Kind kF32{ElementType::kFloat32, 2000};
  constexpr std::pair<Kind, Kind> kKinds[] = {
      // More packets, and fewer.
      {kF32, {ElementType::kFloat32, 1000}},
      {kF32, {ElementType::kBfloat16, 2000}},
      {{ElementType::kFloat32, 200'000}, kF32},
      {{ElementType::kFloat32, 1 << 20}, {ElementType::kFloat16, 1 << 20}},
      // As many packets, of another type, or with other bytes in the last: one, a few, some for
      // every thread, and in several chunks.
      {{ElementType::kFloat16, 1}, {ElementType::kBfloat16, 1}},
      {{ElementType::kFloat16, 8}, {ElementType::kFloat16, 5}},
      {{ElementType::kFloat32, 100}, {ElementType::kFloat16, 200}},
      {{ElementType::kBfloat16, 4096}, {ElementType::kBfloat16, 4095}},
      {{ElementType::kFloat16, 100'000}, {ElementType::kBfloat16, 100'000}},
      {{ElementType::kFloat32, 1 << 20}, {ElementType::kBfloat16, 2 << 20}},
      {{ElementType::kFloat32, 1 << 20}, {ElementType::kFloat32, (1 << 20) - 1}},
  };
  for (const int ranks : {2, 3, 4}) {
    for (const auto& [one, other] : kKinds) {
      for (const bool swapped : {false, true}) {
        const Kind& most = swapped ? other : one;
        const Kind& last = swapped ? one : other;
        SCOPED_TRACE(testing::Message()
                     << ranks << " ranks: " << most.count << " elements of type "
                     << static_cast<int>(most.type) << ", but the last " << last.count
                     << " of type " << static_cast<int>(last.type));
        NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}});
        const CallSpec call = Plain(most.type, most.count, 1, ranks);
        group->Execute({.calls = {call},
                        .other_calls = {{ranks - 1, {Plain(last.type, last.count, 1, ranks)}}},
                        .timeout_ns = 20'000'000});
        int named = 0;
        for (int r = 0; r < ranks; ++r) {
          const FailureRecord failure = group->Failure(Rank{r});
          if (failure.state != FailureRecord::kTimeout) continue;
          EXPECT_NE(failure.missing_rank, r);
          ++named;
        }
        EXPECT_GT(named, 0) << "nobody's record says for whom it waited";
        for (const RankOutcome& outcome : group->Execute({.calls = {call}})) {
          EXPECT_EQ(outcome.status.code(), absl::StatusCode::kAborted) << outcome.status;
        }
        ASSERT_FALSE(HasFailure());
      }
    }
  }
}

// Two ranks that swap two calls.
TEST_P(AllReduceConformance, CallsInAnotherOrderEndTheGroupAtTheDeadline) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}});
  const CallSpec a = Plain(ElementType::kFloat16, 800, 1, 3);
  const CallSpec b = Plain(ElementType::kBfloat16, 800, 2, 3);
  group->Execute({.calls = {a, b}, .other_calls = {{1, {b, a}}}, .timeout_ns = 50'000'000});
  for (const RankOutcome& outcome : group->Execute({.calls = {a}})) {
    EXPECT_EQ(outcome.status.code(), absl::StatusCode::kAborted) << outcome.status;
  }
}

TEST_P(AllReduceConformance, ACallThatWasGivenUpIsNotTheLastThatEnded) {
  // Of one chunk each: by the kernels of few packets, and streamed.
  for (const size_t count : {16, 100'000}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{2}});
    const CallSpec call = Plain(ElementType::kFloat32, count, 1, 2);
    ExpectRight(*group, {.calls = {call, call, call}}, 2);
    for (int r = 0; r < 2; ++r) EXPECT_EQ(group->Epoch(Rank{r}), 3u);
    group->Execute({.calls = {call}, .absent = {1}, .timeout_ns = 50'000'000});
    EXPECT_EQ(group->Failure(Rank{0}).epoch, 4u);
    for (int r = 0; r < 2; ++r) EXPECT_EQ(group->Epoch(Rank{r}), 3u);
  }
}

// Of a grid of one block each thread looks at others of the blocks that it does not have: one
// thread finds it, and the rest of its warp does not.
TEST_P(AllReduceConformance, ABlockThatIsBehindIsAnOverlapWhicheverThreadFindsIt) {
  for (const int block : {1, 5, 33, kBlocksMax - 1}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{2}});
    group->SetLastEpoch(6);
    group->SetLastEpochOfBlock(block, 5);
    const std::vector<RankOutcome> outcomes = group->Execute(
        {.calls = {Plain(ElementType::kFloat32, 16, 1, 2)}, .timeout_ns = 5'000'000'000});
    int overlaps = 0;
    for (const int r : {0, 1}) {
      EXPECT_EQ(outcomes[r].status.code(), absl::StatusCode::kAborted) << outcomes[r].status;
      const uint32_t state = group->Failure(Rank{r}).state;
      // Or poisoned by the other before it looked.
      EXPECT_TRUE(state == FailureRecord::kOverlap || state == FailureRecord::kStopped) << state;
      overlaps += state == FailureRecord::kOverlap ? 1 : 0;
    }
    EXPECT_GT(overlaps, 0) << "block " << block;
  }
}

TEST_P(AllReduceConformance, TwoCallsOfOneRankAtTheSameTimeEndTheGroupWithThatCause) {
  constexpr std::pair<size_t, size_t> kCounts[] = {
      {16, 16}, {16, 200'000}, {200'000, 16}, {200'000, 200'000}};
  for (const auto& [first, second] : kCounts) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}});
    ExpectRight(*group, {.calls = {Plain(ElementType::kFloat32, 1000, 1, 3)}}, 3);
    // Neither can end before the other begins, since nobody else is there.
    const auto begin = std::chrono::steady_clock::now();
    const std::vector<absl::Status> at_once =
        group->ExecuteAtOnce(Rank{1}, Plain(ElementType::kFloat32, first, 1, 3),
                             Plain(ElementType::kFloat32, second, 2, 3));
    // Not by the deadline of 20 s.
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
    for (const absl::Status& status : at_once) {
      EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
    }
    EXPECT_EQ(group->Failure(Rank{1}).state, FailureRecord::kOverlap);
    EXPECT_EQ(group->Epoch(Rank{1}), 1u);
    // The generation is over for everybody, and what is said of its end stays.
    const std::vector<RankOutcome> later =
        group->Execute({.calls = {Plain(ElementType::kFloat32, first, 3, 3)}});
    for (int r = 0; r < 3; ++r) {
      EXPECT_EQ(later[r].status.code(), absl::StatusCode::kAborted) << later[r].status;
      EXPECT_EQ(group->Failure(Rank{r}).state,
                r == 1 ? FailureRecord::kOverlap : FailureRecord::kStopped);
    }
  }
}

TEST_P(AllReduceConformance, TheStopWordEndsAWait) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{2}});
  group->SetStop(1);
  const std::vector<RankOutcome> outcomes =
      group->Execute({.calls = {Plain(ElementType::kFloat32, 1000, 1, 2)}, .absent = {1}});
  EXPECT_EQ(outcomes[0].status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(group->Failure(Rank{0}).state, FailureRecord::kStopped);
}

TEST_P(AllReduceConformance, CallsAfterALeaveFailAndThoseBeforeItDoNot) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{2}});
  group->SetLeft(Rank{1}, 3);
  RankGroup::Run run;
  for (uint64_t i = 0; i < 3; ++i) run.calls.push_back(Plain(ElementType::kFloat32, 500, i, 2));
  run.delayed = 1;
  ExpectRight(*group, run, 2);
  const std::vector<RankOutcome> outcomes =
      group->Execute({.calls = {Plain(ElementType::kFloat32, 500, 9, 2)}, .absent = {1}});
  EXPECT_EQ(outcomes[0].status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(group->Failure(Rank{0}).state, FailureRecord::kLeft);
  EXPECT_EQ(group->Failure(Rank{0}).missing_rank, 1);
}

TEST_P(AllReduceConformance, WhoMissesARankThatLeftDoesNotStopTheOthers) {
  for (const int leaver : {0, 2}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}});
    const int first = 2 - leaver;
    group->SetLeft(Rank{leaver}, 0);
    const CallSpec call = Plain(ElementType::kFloat32, 500, 1, 3);
    group->Execute({.calls = {call}, .absent = {leaver, 1}});
    EXPECT_EQ(group->Failure(Rank{first}).state, FailureRecord::kLeft);
    EXPECT_EQ(group->Failure(Rank{first}).missing_rank, leaver);
    // Rank 1 might have been in an earlier call still, so it is not stopped, but finds out itself,
    // also where it is not the leaver that it waits for.
    group->Execute({.calls = {call}, .absent = {leaver, first}});
    EXPECT_EQ(group->Failure(Rank{1}).state, FailureRecord::kLeft);
    EXPECT_EQ(group->Failure(Rank{1}).missing_rank, leaver);
  }
}

TEST_P(AllReduceConformance, CallsAfterTheEndDoNotOverwriteWhatAPeerHasYetToRead) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}});
  const CallSpec call = Plain(ElementType::kFloat32, 500, 1, 3);
  // Rank 0 sends its part of call 1 and gives up; its later calls, one of them in call 1's part of
  // the plane, end.
  group->SetLeft(Rank{2}, 0);
  for (uint32_t i = 0; i <= kRegionParts; ++i) {
    const std::vector<RankOutcome> over = group->Execute(
        {.calls = {Plain(ElementType::kFloat32, 500, i == 0 ? 1 : 99, 3)}, .absent = {1, 2}});
    EXPECT_EQ(over[0].status.code(), absl::StatusCode::kAborted);
  }
  // Call 1 still completes for the others.
  group->SetLeft(Rank{2}, 1);
  const std::vector<RankOutcome> outcomes =
      group->Execute({.calls = {call}, .absent = {0}, .timeout_ns = 3'000'000'000});
  std::vector<std::vector<uint8_t>> inputs;
  for (int r = 0; r < 3; ++r) {
    inputs.push_back(MakeInput(call.type, call.count, Rank{r}, call.seed, call.density));
  }
  const std::vector<uint8_t> expected = ReferenceSum(call.type, inputs);
  for (const int r : {1, 2}) {
    ASSERT_TRUE(outcomes[r].status.ok()) << "rank " << r << ": " << outcomes[r].status;
    EXPECT_EQ(CountDifferent(call.type, outcomes[r].outputs[0].data(), expected), 0u);
  }
}

// --- checked mode

// A rank's record says that its call no. `sequence` and `other_rank`'s were these.
inline void ExpectMismatch(const FailureRecord& failure, uint32_t sequence, int other_rank,
                           const CallFacts& own, const CallFacts& other) {
  EXPECT_EQ(failure.state, FailureRecord::kMismatch);
  EXPECT_EQ(failure.sequence, sequence);
  EXPECT_EQ(failure.missing_rank, other_rank);
  EXPECT_EQ(failure.own, own);
  EXPECT_EQ(failure.other, other);
}

inline CallFacts FactsOfCall(const CallSpec& call) {
  return {.bytes = call.count * ElementBytes(call.type), .type = static_cast<uint32_t>(call.type)};
}

TEST_P(AllReduceConformance, CheckedCallsAreRightAtEveryWorldSize) {
  for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}, .checked = true});
    RankGroup::Run run;
    uint64_t seed = 0;
    for (const ElementType type : kTypes) {
      for (const size_t count : {0, 1, 13, 1024, 0, 0, 20'001}) {
        run.calls.push_back(Mixed(type, count, ++seed, ranks));
      }
    }
    // Many chunks behind one check: slow, and the same at every size.
    if (ranks <= 3) run.calls.push_back(Mixed(ElementType::kFloat16, 700'001, ++seed, ranks));
    ExpectRight(*group, run, ranks);
  }
}

TEST_P(AllReduceConformance, CheckedModeWaitsForARankThatIsLateByManyCalls) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}, .checked = true});
  RankGroup::Run run = {.delayed = 1};
  for (uint64_t i = 0; i < 20; ++i) {
    run.calls.push_back(Plain(ElementType::kFloat32, i % 3 == 0 ? 0 : 64 * i, i, 3));
  }
  ExpectRight(*group, run, 3);
}

TEST_P(AllReduceConformance, CheckedModeNamesWhoCallsSomethingElse) {
  const CallSpec call = Plain(ElementType::kBfloat16, 4096, 1, 3);
  const CallSpec others[] = {
      Plain(ElementType::kBfloat16, 2048, 1, 3),        // another size
      Plain(ElementType::kFloat16, 4096, 1, 3),         // another type
      Plain(ElementType::kFloat32, 2048, 1, 3),         // the same bytes as another type
      Plain(ElementType::kFloat32, 0, 1, 3),            // nothing
      Plain(ElementType::kBfloat16, 1'000'000, 1, 3)};  // another algorithm and grid
  for (const CallSpec& other : others) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}, .checked = true});
    const std::vector<RankOutcome> outcomes = group->Execute(
        {.calls = {call, call, call}, .other_calls = {{2, {call, call, other, call}}}});
    int named = 0;
    for (int r = 0; r < 3; ++r) {
      EXPECT_EQ(outcomes[r].status.code(), absl::StatusCode::kAborted) << outcomes[r].status;
      const FailureRecord failure = group->Failure(Rank{r});
      // Who had not yet begun finds itself poisoned, maybe before it has ended the call before:
      // ranks may differ by one call.
      if (failure.state == FailureRecord::kStopped) {
        EXPECT_GE(outcomes[r].outputs.size(), 1u);
        continue;
      }
      EXPECT_EQ(outcomes[r].outputs.size(), 2u) << "the calls before were right";
      ++named;
      if (r == 2) {
        ExpectMismatch(failure, 3, failure.missing_rank == 0 ? 0 : 1, FactsOfCall(other),
                       FactsOfCall(call));
      } else {
        ExpectMismatch(failure, 3, 2, FactsOfCall(call), FactsOfCall(other));
      }
    }
    EXPECT_GT(named, 0);
  }
}

TEST_P(AllReduceConformance, CheckedModeNamesCallsInAnotherOrder) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{2}, .checked = true});
  const CallSpec a = Plain(ElementType::kFloat32, 100, 1, 2);
  const CallSpec b = Plain(ElementType::kFloat32, 200, 1, 2);
  group->Execute({.calls = {a, b}, .other_calls = {{1, {b, a}}}});
  const int who = group->Failure(Rank{0}).state == FailureRecord::kMismatch ? 0 : 1;
  ExpectMismatch(group->Failure(Rank{who}), 1, 1 - who, FactsOfCall(who == 0 ? a : b),
                 FactsOfCall(who == 0 ? b : a));
}

TEST_P(AllReduceConformance, CheckedModeNamesWhoIsMissingAndTheCall) {
  for (const size_t count : {0, 16, 200'000}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}, .checked = true});
    const CallSpec call = Plain(ElementType::kFloat32, count, 1, 3);
    ExpectRight(*group, {.calls = {call, call}}, 3);
    const std::vector<RankOutcome> outcomes =
        group->Execute({.calls = {call}, .absent = {2}, .timeout_ns = 50'000'000});
    bool named = false;
    for (const int r : {0, 1}) {
      EXPECT_EQ(outcomes[r].status.code(), absl::StatusCode::kAborted) << outcomes[r].status;
      const FailureRecord failure = group->Failure(Rank{r});
      named |= failure.state == FailureRecord::kTimeout && failure.sequence == 3 &&
               failure.missing_rank == 2;
    }
    EXPECT_TRUE(named) << "no rank's record says that rank 2 is missing at call 3";
  }
}

TEST_P(AllReduceConformance, CheckedModeNamesACallThatOneRankMakesTwice) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}, .checked = true});
  const CallSpec call = Plain(ElementType::kFloat32, 500, 1, 3);
  const std::vector<RankOutcome> outcomes = group->Execute(
      {.calls = {call}, .other_calls = {{1, {call, call}}}, .timeout_ns = 1'000'000'000});
  for (const int r : {0, 2}) EXPECT_TRUE(outcomes[r].status.ok()) << outcomes[r].status;
  EXPECT_EQ(outcomes[1].status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(outcomes[1].outputs.size(), 1u);
  const FailureRecord failure = group->Failure(Rank{1});
  EXPECT_EQ(failure.state, FailureRecord::kTimeout);
  EXPECT_EQ(failure.sequence, 2u);
  EXPECT_NE(failure.missing_rank, 1);
}

TEST_P(AllReduceConformance, CheckedModeCountsOnOverTheWrap) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}, .checked = true});
  group->SetLastCheck(0xfffffffcu);
  const CallSpec call = Plain(ElementType::kFloat32, 500, 1, 3);
  // Three to the largest number, then 4, 5 and 6.
  ExpectRight(*group, {.calls = {call, call, call, call, call, call}}, 3);
  group->Execute({.calls = {call}, .absent = {0, 1}, .timeout_ns = 50'000'000});
  EXPECT_EQ(group->Failure(Rank{2}).sequence, 7u);
}

TEST_P(AllReduceConformance, CheckedCallsAfterALeaveFailAndThoseBeforeItDoNot) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{2}, .checked = true});
  const CallSpec call = Plain(ElementType::kFloat32, 500, 1, 2);
  ExpectRight(*group, {.calls = {call, call}}, 2);
  group->SetLeft(Rank{1}, 2);
  const std::vector<RankOutcome> outcomes = group->Execute({.calls = {call}, .absent = {1}});
  EXPECT_EQ(outcomes[0].status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(group->Failure(Rank{0}).state, FailureRecord::kLeft);
  EXPECT_EQ(group->Failure(Rank{0}).missing_rank, 1);
  EXPECT_EQ(group->Epoch(Rank{0}), 2u);
}

TEST_P(AllReduceConformance, TwoCheckedCallsOfOneRankAtTheSameTimeAreAnOverlapToo) {
  NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{3}, .checked = true});
  const CallSpec call = Plain(ElementType::kFloat32, 500, 1, 3);
  for (const absl::Status& status : group->ExecuteAtOnce(Rank{1}, call, call)) {
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  }
  EXPECT_EQ(group->Failure(Rank{1}).state, FailureRecord::kOverlap);
  // The second may have found that the first had begun, or that it took the same number.
  EXPECT_THAT(group->Failure(Rank{1}).sequence, testing::AnyOf(1u, 2u));
}

}  // namespace nodecomm::kernels
