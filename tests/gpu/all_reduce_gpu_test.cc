#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "tests/gpu/gpu_rank_group.h"
#include "tests/kernels/all_reduce_conformance.h"

namespace nodecomm::kernels {
namespace {

INSTANTIATE_TEST_SUITE_P(Gpu, AllReduceConformance, testing::Values(&MakeGpuRankGroup));

using AllReduceOnGpus = AllReduceConformance;
INSTANTIATE_TEST_SUITE_P(Gpu, AllReduceOnGpus, testing::Values(&MakeGpuRankGroup));

// From a thread to grids that fill a GPU, of whole packets and not.
constexpr size_t kCounts[] = {1, 17, 512, 4096, 16'384, 100'000, 262'144, 1'000'001, 2'097'152};

// Also those of large messages, for which host threads are too slow.
TEST_P(AllReduceOnGpus, IsRightOnBothSidesOfEverySwitchOverOfTheDefaultPlane) {
  constexpr ElementType kType = ElementType::kBfloat16;
  for (const int ranks : {2, 3, 4, 8}) {
    NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}, .plane_bytes = kPlaneBytesDefault});
    RankGroup::Run run;
    // More, and the host would sum for minutes.
    const std::vector<size_t> counts =
        SwitchOvers(kPlaneBytesDefault, ranks, kType, size_t{5} << 20);
    ASSERT_FALSE(counts.empty());
    AddBothSides(counts, kType, ranks, run);
    ExpectRight(*group, run, ranks);
    ASSERT_FALSE(HasFailure());
  }
}

// Both begin within a microsecond. Neither can end, so each pair has to be on the GPU together.
TEST_P(AllReduceOnGpus, TwoCallsOfOneRankThatBeginTogetherAreAnOverlapWhateverTheirSizes) {
  for (const int ranks : {2, 3, 4, 8}) {
    for (const size_t first : kCounts) {
      for (const size_t second : kCounts) {
        SCOPED_TRACE(testing::Message()
                     << ranks << " ranks: " << first << " and " << second << " elements");
        NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}});
        const auto begin = std::chrono::steady_clock::now();
        const std::vector<absl::Status> statuses =
            group->ExecuteAtOnce(Rank{0}, Plain(ElementType::kFloat32, first, 1, ranks),
                                 Plain(ElementType::kBfloat16, second, 2, ranks));
        EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
        for (const absl::Status& status : statuses) {
          EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
        }
        EXPECT_EQ(group->Failure(Rank{0}).state, FailureRecord::kOverlap);
        EXPECT_EQ(group->Epoch(Rank{0}), 0u);
        ASSERT_FALSE(HasFailure());
      }
    }
  }
}

// Eager calls and replays, whose kernels are others.
TEST_P(AllReduceOnGpus, CallsOfAnotherGroupAreDoneBesideOneThatWaits) {
  constexpr size_t kSmallLargeAndFillingTheGpu[] = {512, 262'144, 1'048'576};
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices < 2)
    GTEST_SKIP() << "needs two GPUs: three ranks do not fit on one at the same time";
  for (const int ranks : {2, 4}) {
    if (ranks > devices) continue;
    NODECOMM_MAKE_GROUP(others, {.world_size = WorldSize{ranks}});
    RankGroup::Run calls;
    for (const size_t count : kSmallLargeAndFillingTheGpu) {
      calls.calls.resize(calls.calls.size() + 2, Plain(ElementType::kBfloat16, count, 1, ranks));
    }
    for (const size_t waits : kSmallLargeAndFillingTheGpu) {
      for (const bool is_replay : {false, true}) {
        SCOPED_TRACE(testing::Message() << ranks << " ranks, beside " << waits << " elements"
                                        << (is_replay ? ", replayed" : ""));
        NODECOMM_MAKE_GROUP(group, {.world_size = WorldSize{ranks}});
        RankGroup::Run run = {.calls = {Plain(ElementType::kFloat32, waits, 1, ranks)}};
        if (is_replay) {
          run.calls.insert(run.calls.begin(), Plain(ElementType::kFloat32, 0, 1, ranks));
        }
        for (int r = 1; r < ranks; ++r) run.absent.push_back(r);
        std::thread waiting([&] { group->Execute(run); });
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        ExpectRight(*others, calls, ranks);
        // Else it has waited until its deadline, 20 s.
        group->SetStop(1);
        waiting.join();
        EXPECT_EQ(group->Failure(Rank{0}).state, FailureRecord::kStopped);
        ASSERT_FALSE(HasFailure());
      }
    }
  }
}

}  // namespace
}  // namespace nodecomm::kernels
