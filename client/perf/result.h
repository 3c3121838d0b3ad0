// What the ranks' measurements of a case come to.
// Not how it is shown: that is report.h and sweep_report.h.
// Design note: client/perf/README.md, "what is measured".
#pragma once

#include <cstdint>

#include "client/base/quantities.h"
#include "client/perf/board.h"

namespace nodecomm::perf {

// A case over all ranks: the slowest rank's times, and everybody's wrong elements.
struct Result {
  double latency_us = 0;
  double host_us = 0;
  double nccl_latency_us = 0;
  uint64_t wrong = 0;
};
Result Combine(const Row& row, WorldSize ranks);

// Bytes a second that a call reduces, and that times 2 (n - 1) / n, which compares with a link's
// bandwidth whatever n is.
double AlgorithmBandwidthGbps(ByteCount bytes, double latency_us);
double BusBandwidthGbps(ByteCount bytes, double latency_us, WorldSize ranks);

}  // namespace nodecomm::perf
