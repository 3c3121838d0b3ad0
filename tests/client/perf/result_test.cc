// What a case comes to over all ranks, and its bandwidths.
// See client/perf/result.h.
// Design note: client/perf/README.md.
#include "client/perf/result.h"

#include <gtest/gtest.h>

namespace nodecomm::perf {
namespace {

TEST(Combine, TheSlowestRankAndAllWrongElementsCount) {
  Row row{};
  for (int rank = 0; rank < 4; ++rank) row.measurements[rank] = {.latency_us = 10.0 + rank};
  row.measurements[1].wrong = 2;
  row.measurements[3].wrong = 5;
  row.measurements[2].nccl_latency_us = 26;
  // Beyond the ranks.
  row.measurements[4] = {.latency_us = 99, .nccl_latency_us = 99, .wrong = 99};
  const Result result = Combine(row, WorldSize{4});
  EXPECT_EQ(result.latency_us, 13.0);
  EXPECT_EQ(result.nccl_latency_us, 26.0);
  EXPECT_EQ(result.wrong, 7u);
}

TEST(Bandwidth, IsBytesOverTimeAndScaledForTheBus) {
  EXPECT_DOUBLE_EQ(AlgorithmBandwidthGbps({1000000}, 10), 100);
  EXPECT_DOUBLE_EQ(BusBandwidthGbps({1000000}, 10, WorldSize{4}), 150);
  EXPECT_DOUBLE_EQ(BusBandwidthGbps({1000000}, 10, WorldSize{2}), 100);
  EXPECT_DOUBLE_EQ(BusBandwidthGbps({1000000}, 10, WorldSize{1}), 0);
  EXPECT_EQ(AlgorithmBandwidthGbps({1000000}, 0), 0);
}

}  // namespace
}  // namespace nodecomm::perf
