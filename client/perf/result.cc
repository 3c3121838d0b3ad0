// See result.h.
#include "client/perf/result.h"

#include <algorithm>

namespace nodecomm::perf {

Result Combine(const Row& row, WorldSize ranks) {
  Result result;
  for (int rank = 0; rank < ranks.value; ++rank) {
    const Measurement& measurement = row.measurements[rank];
    result.latency_us = std::max(result.latency_us, measurement.latency_us);
    result.host_us = std::max(result.host_us, measurement.host_us);
    result.nccl_latency_us = std::max(result.nccl_latency_us, measurement.nccl_latency_us);
    result.wrong += measurement.wrong;
  }
  return result;
}

double AlgorithmBandwidthGbps(ByteCount bytes, double latency_us) {
  return latency_us > 0 ? static_cast<double>(bytes.value) / latency_us * 1e-3 : 0;
}

double BusBandwidthGbps(ByteCount bytes, double latency_us, WorldSize ranks) {
  return AlgorithmBandwidthGbps(bytes, latency_us) * 2 * (ranks.value - 1) / ranks.value;
}

}  // namespace nodecomm::perf
