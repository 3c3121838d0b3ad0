// The daemon's metrics: events in, Prometheus's text format out; over HTTP on the loopback address
// if asked. Not a store of states: those are read when somebody asks. prometheus-cpp stays in the
// .cc. Design note: daemon/metrics/README.md.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/metrics/metrics_event.h"
#include "daemon/metrics/metrics_snapshot.h"

namespace nodecomm {

// Thread-safe.
class Metrics {
 public:
  static std::unique_ptr<Metrics> Create();
  virtual ~Metrics() = default;

  // Does not block: a few counters behind a lock.
  virtual void Take(const MetricsEvent& event) = 0;

  // All metrics, in Prometheus's text format.
  virtual std::string Expose(const MetricsSnapshot& now) const = 0;
};

// Serves http://127.0.0.1:port/metrics until it is destroyed.
class MetricsServer {
 public:
  struct Options {
    int port = 0;                      // 0: one that is free
    const Metrics* metrics = nullptr;  // made by Metrics::Create; outlives the server
    // Called whenever somebody reads, on the server's threads.
    std::function<MetricsSnapshot()> snapshot;
  };
  // Unavailable: the port is taken.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(Options options);
  virtual ~MetricsServer() = default;

  virtual int port() const = 0;
};

}  // namespace nodecomm
