#include "client/base/steady_clock.h"

#include <gtest/gtest.h>

#include <type_traits>

namespace nodecomm {
namespace {

TEST(SteadyTime, IsReckonedWithAsAbseilsTimes) {
  const SteadyTime start = SteadyNow();
  const SteadyTime later = start + absl::Seconds(5);
  EXPECT_EQ(later - start, absl::Seconds(5));
  EXPECT_EQ(later - absl::Seconds(5), start);
  EXPECT_LT(start, later);
  EXPECT_GE(later, start);
  EXPECT_NE(later, start);
  EXPECT_LT(SteadyTime(), start);
}

TEST(SteadyTime, EndsNowhere) {
  const SteadyTime now = SteadyNow();
  EXPECT_LT(now, SteadyTime::InfiniteFuture());
  EXPECT_GT(now, SteadyTime::InfinitePast());
  EXPECT_EQ(now + absl::InfiniteDuration(), SteadyTime::InfiniteFuture());
  EXPECT_EQ(now - absl::InfiniteDuration(), SteadyTime::InfinitePast());
  EXPECT_EQ(SteadyTime::InfiniteFuture() - now, absl::InfiniteDuration());
}

TEST(SteadyTime, IsNoWallTime) {
  static_assert(!std::is_convertible_v<absl::Time, SteadyTime>);
  static_assert(!std::is_constructible_v<SteadyTime, absl::Time>);
  static_assert(!std::is_constructible_v<absl::Time, SteadyTime>);
}

TEST(SteadyNow, NeverGoesBack) {
  SteadyTime last = SteadyNow();
  for (int i = 0; i < 1000; ++i) {
    const SteadyTime now = SteadyNow();
    ASSERT_GE(now, last);
    last = now;
  }
}

}  // namespace
}  // namespace nodecomm
