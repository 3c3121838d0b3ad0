#include "daemon/main/log_limit.h"

#include <gtest/gtest.h>

namespace nodecomm {
namespace {

const SteadyTime kStart = SteadyTime() + absl::Hours(1);

TEST(LogLimit, LetsOneLineASecondThroughAndCountsTheOthers) {
  LogLimit limit;
  EXPECT_EQ(limit.Take(kStart), 0);
  EXPECT_EQ(limit.Take(kStart + absl::Milliseconds(1)), std::nullopt);
  EXPECT_EQ(limit.Take(kStart + absl::Milliseconds(999)), std::nullopt);
  EXPECT_EQ(limit.Take(kStart + absl::Seconds(1)), 2);
  EXPECT_EQ(limit.Take(kStart + absl::Seconds(5)), 0);
}

TEST(LogLimit, LetsAWholeGroupsLinesThrough) {
  LogLimit limit(8);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(limit.Take(kStart), 0);
  EXPECT_EQ(limit.Take(kStart), std::nullopt);
  EXPECT_EQ(limit.Take(kStart + absl::Seconds(1)), 1);
  EXPECT_EQ(limit.Take(kStart + absl::Seconds(1)), 0);
}

TEST(LeftOut, SaysNothingOfNone) {
  EXPECT_EQ(LeftOut(0), "");
  EXPECT_EQ(LeftOut(3), "; 3 more since the last such line");
}

}  // namespace
}  // namespace nodecomm
