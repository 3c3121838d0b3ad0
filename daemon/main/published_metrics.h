// The daemon's metrics where others can read them: an HTTP port on the loopback address, a file, or
// nothing, as the configuration says. Not the metrics themselves (daemon/metrics).
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/config/config.h"
#include "daemon/group/group_registry.h"
#include "daemon/memory/plane_pool.h"
#include "daemon/metrics/metrics.h"
#include "daemon/metrics/metrics_server.h"
#include "daemon/metrics/textfile.h"
#include "daemon/session/session_server.h"
#include "daemon/topology/host_state.h"

namespace nodecomm {

class PublishedMetrics {
 public:
  // All outlive it.
  struct Parts {
    const Metrics* metrics = nullptr;
    const HostState* host = nullptr;
    const GroupRegistry* groups = nullptr;
    const PlanePool* pool = nullptr;
    const SessionServer* sessions = nullptr;
    std::function<bool()> ready;
    std::function<bool()> runtime_dir_lost;
    std::function<bool()> runtime_dir_writable;
    std::function<int()> groups_max;  // a reload may change it
    std::function<bool()> reload_failed;
    std::function<bool()> watches_errors;
  };

  static absl::StatusOr<std::unique_ptr<PublishedMetrics>> Start(
      const Config& config, v1::Platform platform, const Parts& parts,
      std::function<void(const absl::Status&)> textfile_news);

 private:
  PublishedMetrics() = default;

  std::unique_ptr<MetricsServer> server_;
  std::unique_ptr<MetricsTextfile> textfile_;
};

}  // namespace nodecomm
