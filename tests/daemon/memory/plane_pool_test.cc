#include "daemon/memory/plane_pool.h"

#include <sys/stat.h>

#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "tests/support/fake_plane_source.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(20);

class PlanePoolTest : public ::testing::Test {
 protected:
  static PlanePool::Options Options() {
    return {.gpu_uuids = {"GPU-a", "GPU-b"},
            .plane_bytes = 4_MiB,
            .planes_ready = 2,
            .bytes_per_gpu_max = 16_MiB,
            .refill_retry_min = absl::Milliseconds(1),
            .refill_retry_max = absl::Milliseconds(4)};
  }
  std::unique_ptr<PlanePool> Make(PlanePool::Options options) {
    auto pool = PlanePool::Create(std::move(options), &source_);
    EXPECT_OK(pool);
    return *std::move(pool);
  }
  static v1::PoolInfo InfoOf(const PlanePool& pool, const std::string& uuid) {
    for (v1::PoolInfo& info : pool.List()) {
      if (info.gpu_uuid() == uuid) return info;
    }
    ADD_FAILURE() << "no pool " << uuid;
    return {};
  }
  static ino_t InodeOf(const PlaneLease& lease) {
    struct stat status = {};
    EXPECT_EQ(fstat(lease.fd(), &status), 0);
    return status.st_ino;
  }

  FakePlaneSource source_{{"GPU-a", "GPU-b"}};
};

TEST_F(PlanePoolTest, FillsItsStock) {
  auto pool = Make(Options());
  ASSERT_TRUE(pool->WaitUntilFilled(kLong));
  for (const char* uuid : {"GPU-a", "GPU-b"}) {
    const v1::PoolInfo info = InfoOf(*pool, uuid);
    EXPECT_EQ(info.planes_ready(), 2);
    EXPECT_EQ(info.planes_ready_target(), 2);
    EXPECT_EQ(info.bytes_ready(), (8_MiB).value);
    EXPECT_EQ(info.bytes_in_use(), 0);
    EXPECT_EQ(info.bytes_max(), (16_MiB).value);
    EXPECT_EQ(info.last_error(), "");
  }
  EXPECT_EQ(source_.calls(), 4);
}

TEST_F(PlanePoolTest, HandsOutAReadyPlaneWithoutTheSourceAndRefills) {
  auto pool = Make(Options());
  ASSERT_TRUE(pool->WaitUntilFilled(kLong));
  source_.Hold();
  auto lease = pool->Acquire("GPU-a", 4_MiB);
  ASSERT_OK(lease);
  EXPECT_EQ(lease->bytes(), 4_MiB);
  EXPECT_EQ(InfoOf(*pool, "GPU-a").planes_ready(), 1);
  EXPECT_EQ(InfoOf(*pool, "GPU-a").planes_in_use(), 1);
  source_.LetGo();
  ASSERT_TRUE(pool->WaitUntilFilled(kLong));
  EXPECT_EQ(InfoOf(*pool, "GPU-a").planes_ready(), 2);
}

TEST_F(PlanePoolTest, NeverHandsAPlaneOutTwice) {
  auto pool = Make(Options());
  std::set<ino_t> seen;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(pool->WaitUntilFilled(kLong));
    auto lease = pool->Acquire("GPU-a", 4_MiB);
    ASSERT_OK(lease);
    EXPECT_TRUE(seen.insert(InodeOf(*lease)).second);
  }
}

TEST_F(PlanePoolTest, AccountReturnsToZero) {
  auto pool = Make(Options());
  {
    auto planes = pool->Acquire("GPU-a", 4_MiB);
    auto shared = pool->Acquire("GPU-a", ByteCount{(2_MiB).value + 1});
    ASSERT_OK(planes);
    ASSERT_OK(shared);
    EXPECT_EQ(shared->bytes(), 4_MiB);
    EXPECT_EQ(InfoOf(*pool, "GPU-a").bytes_in_use(), (8_MiB).value);
    EXPECT_EQ(InfoOf(*pool, "GPU-a").planes_in_use(), 2);
    EXPECT_EQ(InfoOf(*pool, "GPU-b").bytes_in_use(), 0);
    PlaneLease moved = *std::move(planes);
    EXPECT_EQ(InfoOf(*pool, "GPU-a").planes_in_use(), 2);
  }
  EXPECT_EQ(InfoOf(*pool, "GPU-a").bytes_in_use(), 0);
  EXPECT_EQ(InfoOf(*pool, "GPU-a").planes_in_use(), 0);
}

TEST_F(PlanePoolTest, OverTheLimitSaysGpuAskedInUseAndLimit) {
  auto pool = Make(Options());
  ASSERT_TRUE(pool->WaitUntilFilled(kLong));
  auto lease = pool->Acquire("GPU-a", 6_MiB);
  ASSERT_OK(lease);
  EXPECT_THAT(pool->Acquire("GPU-a", 10_MiB),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "10485760 bytes asked for on GPU GPU-a, but 6291456 are in use and 8388608 "
                       "ready or being made, of at most 16777216; ask for less, end other groups, "
                       "or raise pool.bytes_per_gpu_max"));
  EXPECT_OK(pool->Acquire("GPU-b", 6_MiB));
}

TEST_F(PlanePoolTest, FullGpuIsToldWithTheAccount) {
  auto pool = Make(Options());
  ASSERT_TRUE(pool->WaitUntilFilled(kLong));
  auto lease = pool->Acquire("GPU-a", 6_MiB);
  ASSERT_OK(lease);
  source_.FailCalls(0, 1, absl::ResourceExhaustedError("out of memory"));
  EXPECT_THAT(pool->Acquire("GPU-a", 2_MiB),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("out of memory; of the daemon's bytes on GPU GPU-a, 6291456 are "
                                 "in use and 8388608 ready or being made, of at most 16777216")));
  // Other wants are not the GPU's.
  const absl::Status no_fd = absl::ErrnoToStatus(EMFILE, "receiving");
  source_.FailCalls(0, 1, no_fd);
  EXPECT_EQ(pool->Acquire("GPU-a", 2_MiB).status(), no_fd);
}

TEST_F(PlanePoolTest, RefillRespectsTheLimitAndSaysSo) {
  auto pool = Make(Options());
  ASSERT_TRUE(pool->WaitUntilFilled(kLong));
  std::vector<PlaneLease> leases;
  for (int i = 0; i < 4; ++i) {
    auto lease = pool->Acquire("GPU-a", 4_MiB);
    ASSERT_OK(lease);
    leases.push_back(*std::move(lease));
  }
  ASSERT_TRUE(pool->WaitUntilFilled(kLong));
  const v1::PoolInfo full = InfoOf(*pool, "GPU-a");
  EXPECT_EQ(full.bytes_ready() + full.bytes_in_use(), (16_MiB).value);
  EXPECT_EQ(full.planes_ready(), 0);
  EXPECT_THAT(full.last_error(),
              HasSubstr("no room for another ready plane below pool.bytes_per_gpu_max"));
  leases.clear();
  ASSERT_TRUE(pool->WaitUntilFilled(kLong));
  EXPECT_EQ(InfoOf(*pool, "GPU-a").planes_ready(), 2);
  EXPECT_EQ(InfoOf(*pool, "GPU-a").last_error(), "");
}

TEST_F(PlanePoolTest, WaitsForThePlaneThatIsBeingMadeRatherThanFail) {
  source_.Hold();
  PlanePool::Options options = Options();
  options.gpu_uuids = {"GPU-a"};
  options.planes_ready = 1;
  options.bytes_per_gpu_max = 4_MiB;
  auto pool = Make(options);
  source_.WaitForCalls(1);  // the refill holds all there may be
  absl::StatusOr<PlaneLease> lease;
  std::thread caller([&] { lease = pool->Acquire("GPU-a", 4_MiB); });
  source_.LetGo();
  caller.join();
  EXPECT_OK(lease);
  EXPECT_EQ(source_.calls(), 1);
}

TEST_F(PlanePoolTest, ClosedPoolSaysWhetherItsGpuIsDrainedYet) {
  auto pool = Make(Options());
  {
    const auto lease = pool->Acquire("GPU-a", 4_MiB);
    ASSERT_OK(lease);
    pool->Close("GPU-a");
    EXPECT_THAT(pool->Acquire("GPU-a", 4_MiB),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("GPU-a is being drained")));
  }
  EXPECT_THAT(pool->Acquire("GPU-a", 4_MiB),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("GPU-a is drained")));
}

TEST_F(PlanePoolTest, PlaneThatIsMadeWhileThePoolIsClosedIsNotHandedOut) {
  PlanePool::Options options = Options();
  options.planes_ready = 0;
  auto pool = Make(options);
  source_.Hold();
  absl::StatusOr<PlaneLease> lease;
  std::thread caller([&] { lease = pool->Acquire("GPU-a", 4_MiB); });
  source_.WaitForCalls(1);
  pool->Close("GPU-a");
  EXPECT_EQ(InfoOf(*pool, "GPU-a").bytes_pending(), (4_MiB).value);
  source_.LetGo();
  caller.join();
  EXPECT_THAT(lease, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("GPU-a is drained")));
  EXPECT_EQ(InfoOf(*pool, "GPU-a").bytes_pending(), 0u);
  EXPECT_EQ(InfoOf(*pool, "GPU-a").planes_in_use(), 0);
}

TEST_F(PlanePoolTest, UnknownGpuIsNotFound) {
  auto pool = Make(Options());
  EXPECT_THAT(pool->Acquire("GPU-z", 4_MiB),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("GPU-z")));
}

TEST_F(PlanePoolTest, FailedRefillIsShownAndTriedAgain) {
  source_.FailCalls(0, 5, absl::ResourceExhaustedError("the GPU is full"));
  PlanePool::Options options = Options();
  options.gpu_uuids = {"GPU-a"};
  options.refill_retry_min = absl::Hours(1);
  options.refill_retry_max = absl::Hours(1);
  {
    auto pool = Make(options);
    ASSERT_TRUE(pool->WaitUntilFilled(kLong));
    EXPECT_THAT(InfoOf(*pool, "GPU-a").last_error(), HasSubstr("the GPU is full"));
    EXPECT_EQ(InfoOf(*pool, "GPU-a").planes_ready(), 0);
    EXPECT_EQ(source_.calls(), 1);  // backs off
  }
  options.refill_retry_min = absl::Milliseconds(1);
  options.refill_retry_max = absl::Milliseconds(2);
  std::vector<absl::Status> news;
  options.refill_news = [&](const std::string& uuid, const absl::Status& refilled) {
    EXPECT_EQ(uuid, "GPU-a");
    news.push_back(refilled);
  };
  auto pool = Make(options);
  source_.WaitForCalls(7);  // four more failures, then two planes
  ASSERT_TRUE(pool->WaitUntilFilled(kLong));
  EXPECT_EQ(InfoOf(*pool, "GPU-a").planes_ready(), 2);
  EXPECT_EQ(InfoOf(*pool, "GPU-a").last_error(), "");
  pool = nullptr;  // ends the thread that tells
  ASSERT_EQ(news.size(), 2u) << "the first failure, and the end of all";
  EXPECT_THAT(news[0], StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("full")));
  EXPECT_OK(news[1]);
}

TEST_F(PlanePoolTest, FailedCreationLeavesTheAccountAsItWas) {
  PlanePool::Options options = Options();
  options.planes_ready = 0;
  auto pool = Make(options);
  source_.FailCalls(0, 1, absl::InternalError("driver"));
  EXPECT_THAT(pool->Acquire("GPU-a", 16_MiB), StatusIs(absl::StatusCode::kInternal));
  EXPECT_EQ(InfoOf(*pool, "GPU-a").bytes_in_use(), 0);
  EXPECT_OK(pool->Acquire("GPU-a", 16_MiB));  // all of the limit is free again
}

TEST_F(PlanePoolTest, DoesNotHoldItsLockWhileAPlaneIsMade) {
  source_.Hold();
  auto pool = Make(Options());
  source_.WaitForCalls(1);
  EXPECT_EQ(pool->List().size(), 2u);
  EXPECT_FALSE(pool->WaitUntilFilled(absl::Milliseconds(1)));
  source_.LetGo();
  EXPECT_TRUE(pool->WaitUntilFilled(kLong));
}

TEST_F(PlanePoolTest, RefusesOptionsThatMakeNoSense) {
  PlanePool::Options odd = Options();
  odd.plane_bytes = ByteCount{(4_MiB).value + 1};
  EXPECT_THAT(PlanePool::Create(odd, &source_), StatusIs(absl::StatusCode::kInvalidArgument));
  PlanePool::Options negative = Options();
  negative.planes_ready = -1;
  EXPECT_THAT(PlanePool::Create(negative, &source_), StatusIs(absl::StatusCode::kInvalidArgument));
  PlanePool::Options too_many = Options();
  too_many.planes_ready = 5;
  EXPECT_THAT(PlanePool::Create(too_many, &source_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("5 planes of 4194304")));
}

TEST_F(PlanePoolTest, ManyThreadsKeepTheAccountRight) {
  auto pool = Make(Options());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        auto lease = pool->Acquire(i % 2 == 0 ? "GPU-a" : "GPU-b", i % 3 == 0 ? 2_MiB : 4_MiB);
        if (!lease.ok()) {
          EXPECT_THAT(lease, StatusIs(absl::StatusCode::kResourceExhausted));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(pool->WaitUntilFilled(kLong));
  for (const v1::PoolInfo& info : pool->List()) {
    EXPECT_EQ(info.bytes_in_use(), 0);
    EXPECT_EQ(info.planes_in_use(), 0);
    EXPECT_EQ(info.planes_ready(), 2);
  }
}

}  // namespace
}  // namespace nodecomm
