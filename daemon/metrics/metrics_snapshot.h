// The daemon's states at the moment somebody reads the metrics, and how they read as samples.
// Not what is counted over time (metrics_event.h). Pure; no Prometheus here.
// Design note: daemon/metrics/README.md.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "nodecomm/v1/admin.pb.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

struct MetricsSnapshot {
  v1::Host host;
  v1::PeerProofs proofs;
  std::vector<v1::GroupInfo> groups;
  std::vector<v1::PoolInfo> pools;
  int sessions = 0;
  int sessions_max = 0;
  int groups_max = 0;
  bool simulated = false;
  bool ready = false;  // it waits for nothing more, and misses nothing
  bool runtime_dir_lost = false;
  bool runtime_dir_writable = true;
  bool reload_failed = false;
  bool watches_errors = true;
  absl::Time start_time;
  uint64_t log_lines_not_read = 0;  // these two are lost
  uint64_t log_lines_not_written = 0;
  int open_fds = 0;
  int open_fds_max = 0;
};

struct Sample {
  std::vector<std::pair<std::string, std::string>> labels;
  double value = 0;
};

struct StateFamily {
  enum class Type { kGauge, kCounter };
  std::string name;
  std::string help;
  Type type = Type::kGauge;
  std::vector<Sample> samples;
};

std::vector<StateFamily> DescribeState(const MetricsSnapshot& now);

}  // namespace nodecomm
