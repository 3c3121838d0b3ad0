#include "client/base/steady_wait.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "tests/support/clock_step.h"

namespace nodecomm {
namespace {

constexpr absl::Duration kShort = absl::Milliseconds(50);
constexpr absl::Duration kLong = absl::Seconds(20);

class SteadyWaitTest : public testing::Test {
 protected:
  ~SteadyWaitTest() override { clock_step_seconds = 0; }

  void Set() {
    absl::MutexLock lock(&mutex_);
    set_ = true;
    changed_.SignalAll();
  }
  bool WaitUntilSet(SteadyTime deadline) {
    absl::MutexLock lock(&mutex_);
    const auto is_set = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return set_; };
    return changed_.Await(&mutex_, deadline, is_set);
  }

  absl::Mutex mutex_;
  SteadyCondVar changed_;
  bool set_ ABSL_GUARDED_BY(mutex_) = false;
};

TEST_F(SteadyWaitTest, LastsUntilTheDeadlineAndNoShorter) {
  const SteadyTime deadline = SteadyNow() + kShort;
  EXPECT_FALSE(WaitUntilSet(deadline));
  EXPECT_GE(SteadyNow(), deadline);
}

TEST_F(SteadyWaitTest, EndsWithASignal) {
  std::thread setter([this] { Set(); });
  const SteadyTime start = SteadyNow();
  EXPECT_TRUE(WaitUntilSet(start + kLong));
  EXPECT_LT(SteadyNow() - start, kLong);
  setter.join();
}

TEST_F(SteadyWaitTest, WithoutADeadlineEndsWithASignal) {
  std::thread setter([this] { Set(); });
  EXPECT_TRUE(WaitUntilSet(SteadyTime::InfiniteFuture()));
  setter.join();
}

TEST_F(SteadyWaitTest, IsOverAtOnceWhereTheDeadlineHasPassed) {
  const SteadyTime start = SteadyNow();
  EXPECT_FALSE(WaitUntilSet(start));
  EXPECT_FALSE(WaitUntilSet(SteadyTime::InfinitePast()));
  Set();
  EXPECT_TRUE(WaitUntilSet(SteadyTime::InfinitePast()));
  EXPECT_LT(SteadyNow() - start, kLong);
}

TEST_F(SteadyWaitTest, LetsOthersHaveTheLock) {
  std::atomic<bool> waits = false;
  std::thread waiter([&] {
    absl::MutexLock lock(&mutex_);
    waits = true;
    while (!set_) changed_.Wait(&mutex_);
  });
  while (!waits) std::this_thread::yield();
  Set();  // gets the lock once the waiter waits
  waiter.join();
}

TEST_F(SteadyWaitTest, WakesAllWhoWait) {
  std::thread first([this] { EXPECT_TRUE(WaitUntilSet(SteadyNow() + kLong)); });
  std::thread second([this] { EXPECT_TRUE(WaitUntilSet(SteadyTime::InfiniteFuture())); });
  Set();
  first.join();
  second.join();
}

// Where the clock that they ask is ahead of the kernel's, Abseil's waits last an hour longer, and
// where it is behind they do not wait at all.
TEST_F(SteadyWaitTest, AStepOfTheWallClockChangesNothing) {
  for (const time_t step : {3600, -3600}) {
    const absl::Time before = absl::Now();
    clock_step_seconds = step;
    ASSERT_GT(absl::AbsDuration(absl::Now() - before), absl::Minutes(59))
        << "the step has no effect here";
    const SteadyTime start = SteadyNow();
    EXPECT_FALSE(WaitUntilSet(start + kShort));
    EXPECT_GE(SteadyNow() - start, kShort);
    EXPECT_LT(SteadyNow() - start, kLong);
  }
}

}  // namespace
}  // namespace nodecomm
