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

TEST(UserLogLimit, OneUsersLinesLeaveOthersTheirs) {
  UserLogLimit limit(2, 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limit.Take(7, kStart), 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(limit.Take(7, kStart), std::nullopt);
  EXPECT_EQ(limit.Take(8, kStart), 0);
  EXPECT_EQ(limit.Take(7, kStart + absl::Seconds(1)), 5);
  EXPECT_EQ(limit.Take(7, kStart + absl::Seconds(1)), 0);
  EXPECT_EQ(limit.Take(7, kStart + absl::Seconds(1)), std::nullopt);
}

TEST(LeftOut, SaysNothingOfNone) {
  EXPECT_EQ(LeftOut(0), "");
  EXPECT_EQ(LeftOut(3), "; 3 more since the last such line");
}

}  // namespace
}  // namespace nodecomm
