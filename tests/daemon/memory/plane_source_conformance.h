// What every PlaneSource must do. Each implementation's test instantiates this suite for it.
#pragma once

#include <fcntl.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "daemon/memory/plane_source.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {

struct PlaneSourceUnderTest {
  std::string name;
  std::function<std::unique_ptr<PlaneSource>()> make;
  // At least one GPU that it serves.
  std::function<std::vector<std::string>()> gpu_uuids;
  // More than any of these GPUs has.
  ByteCount too_many_bytes;
};

class PlaneSourceConformance : public ::testing::TestWithParam<PlaneSourceUnderTest> {
 protected:
  std::unique_ptr<PlaneSource> source_ = GetParam().make();
  std::vector<std::string> uuids_ = GetParam().gpu_uuids();
};

TEST_P(PlaneSourceConformance, MakesPlanesOnEveryGpuRoundedUp) {
  for (const std::string& uuid : uuids_) {
    auto plane = source_->Create(uuid, ByteCount{(2_MiB).value + 1});
    ASSERT_OK(plane);
    EXPECT_EQ(plane->bytes, 4_MiB);
    ASSERT_TRUE(plane->fd.valid());
    EXPECT_NE(fcntl(plane->fd.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
}

TEST_P(PlaneSourceConformance, KeepsASizeThatNeedsNoRounding) {
  auto plane = source_->Create(uuids_.front(), 2_MiB);
  ASSERT_OK(plane);
  EXPECT_EQ(plane->bytes, 2_MiB);
}

TEST_P(PlaneSourceConformance, EveryPlaneHasAnFdOfItsOwn) {
  auto first = source_->Create(uuids_.front(), 2_MiB);
  auto second = source_->Create(uuids_.front(), 2_MiB);
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_NE(first->fd.get(), second->fd.get());
}

TEST_P(PlaneSourceConformance, UnknownGpuIsNotFound) {
  EXPECT_THAT(
      source_->Create("GPU-none", 2_MiB),
      absl_testing::StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr("GPU-none")));
}

TEST_P(PlaneSourceConformance, ZeroBytesAreInvalid) {
  EXPECT_THAT(source_->Create(uuids_.front(), ByteCount{0}),
              absl_testing::StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_P(PlaneSourceConformance, WorksOnAfterAGpuWasTooSmall) {
  EXPECT_THAT(source_->Create(uuids_.front(), GetParam().too_many_bytes),
              absl_testing::StatusIs(absl::StatusCode::kResourceExhausted,
                                     ::testing::HasSubstr(uuids_.front())));
  EXPECT_THAT(source_->Create(uuids_.front(), ByteCount{static_cast<size_t>(-1)}),
              absl_testing::StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_OK(source_->Create(uuids_.front(), 2_MiB));
}

TEST_P(PlaneSourceConformance, ServesSeveralThreads) {
  constexpr int kThreads = 4;
  constexpr int kPlanes = 8;
  std::vector<absl::Status> failures(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPlanes; ++i) {
        auto plane = source_->Create(uuids_.front(), 2_MiB);
        if (!plane.ok()) failures[static_cast<size_t>(t)] = plane.status();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& failure : failures) EXPECT_OK(failure);
}

}  // namespace nodecomm
