// Ticks and places of logarithmic axes.
// See client/perf/axis.h.
// Design note: client/perf/README.md, "picture".
#include "client/perf/axis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nodecomm::perf {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Labels(const LogAxis& axis) {
  std::vector<std::string> labels;
  for (const Tick& tick : axis.ticks) labels.push_back(tick.label);
  return labels;
}

TEST(LogAxis, GivesEqualRatiosEqualWays) {
  const LogAxis axis{.min = 1, .max = 100, .ticks = {}};
  EXPECT_DOUBLE_EQ(axis.Position(1), 0);
  EXPECT_DOUBLE_EQ(axis.Position(10), 0.5);
  EXPECT_DOUBLE_EQ(axis.Position(100), 1);
}

TEST(BytesAxis, HasPowersOfTwoAndNotTooMany) {
  EXPECT_THAT(Labels(BytesAxis(1024, 64 << 20)),
              ElementsAre("1 KiB", "4 KiB", "16 KiB", "64 KiB", "256 KiB", "1 MiB", "4 MiB",
                          "16 MiB", "64 MiB"));
  EXPECT_THAT(Labels(BytesAxis(2048, 8192)), ElementsAre("2 KiB", "4 KiB", "8 KiB"));
  EXPECT_LE(BytesAxis(2, 4294967296.0).ticks.size(), 9u);
}

TEST(BytesAxis, HoldsSizesThatAreNoPowers) {
  const LogAxis axis = BytesAxis(6, 3000);
  EXPECT_EQ(axis.min, 4);
  EXPECT_EQ(axis.max, 4096);
}

TEST(MicrosecondsAxis, HasOneTwoFive) {
  EXPECT_THAT(Labels(MicrosecondsAxis(3.1, 41)), ElementsAre("2", "5", "10", "20", "50"));
  EXPECT_THAT(Labels(MicrosecondsAxis(0.3, 2)), ElementsAre("0.2", "0.5", "1", "2"));
  const LogAxis axis = MicrosecondsAxis(20, 200);
  EXPECT_EQ(axis.min, 20);
  EXPECT_EQ(axis.max, 200);
}

TEST(MicrosecondsAxis, OfAWideRangeHasPowersOfTen) {
  const LogAxis axis = MicrosecondsAxis(3, 3e6);
  EXPECT_THAT(Labels(axis), ElementsAre("10", "100", "1000", "10000", "100000", "1000000"));
  EXPECT_LE(axis.min, 3);
  EXPECT_GE(axis.max, 3e6);
}

TEST(Axes, OfASingleValueAreAsLongAsOneStep) {
  for (const double value : {1.0, 3.7, 10.0, 1024.0}) {
    for (const LogAxis& axis : {BytesAxis(value, value), MicrosecondsAxis(value, value)}) {
      EXPECT_LE(axis.min, value);
      EXPECT_GE(axis.max, value);
      EXPECT_LT(axis.min, axis.max);
      EXPECT_GE(axis.ticks.size(), 2u);
    }
  }
}

}  // namespace
}  // namespace nodecomm::perf
