#include "daemon/main/published_metrics.h"

#include <utility>

#include "absl/time/clock.h"
#include "client/base/status_macros.h"
#include "daemon/main/log.h"
#include "daemon/process/open_fds.h"

namespace nodecomm {
namespace {

MetricsSnapshot TakeSnapshot(const PublishedMetrics::Parts& parts) {
  MetricsSnapshot now;
  now.host = parts.host->host();
  now.proofs = parts.host->proofs();
  now.groups = parts.groups->List();
  now.pools = parts.pool->List();
  now.sessions = parts.sessions->session_count();
  now.ready = parts.ready();
  now.runtime_dir_lost = parts.runtime_dir_lost();
  now.runtime_dir_writable = parts.runtime_dir_writable();
  const LogWriter::Lost lost = LostLogLines();
  now.log_lines_not_read = lost.not_read;
  now.log_lines_not_written = lost.not_written;
  now.open_fds = CountOpenFds();
  now.open_fds_max = OpenFdsMax();
  return now;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PublishedMetrics>> PublishedMetrics::Start(
    const Config& config, v1::Platform platform, const Parts& parts,
    std::function<void(const absl::Status&)> textfile_news) {
  const auto snapshot = [parts, start_time = absl::Now(),
                         simulated = platform == v1::PLATFORM_SIMULATED,
                         sessions_max = config.limits.sessions_max] {
    MetricsSnapshot now = TakeSnapshot(parts);
    now.start_time = start_time;
    now.simulated = simulated;
    now.sessions_max = sessions_max;
    now.groups_max = parts.groups_max();
    now.reload_failed = parts.reload_failed();
    now.watches_errors = parts.watches_errors();
    return now;
  };
  const auto expose = [snapshot, metrics = parts.metrics] { return metrics->Expose(snapshot()); };
  std::unique_ptr<PublishedMetrics> published(new PublishedMetrics());
  if (config.metrics.port != 0) {
    ABSL_ASSIGN_OR_RETURN(published->server_,
                          MetricsServer::Start({.port = config.metrics.port, .expose = expose}));
  }
  if (!config.metrics.textfile.empty()) {
    ABSL_ASSIGN_OR_RETURN(published->textfile_,
                          MetricsTextfile::Start({.path = config.metrics.textfile,
                                                  .interval = config.metrics.textfile_interval,
                                                  .expose = expose,
                                                  .news = std::move(textfile_news)}));
  }
  return published;
}

}  // namespace nodecomm
