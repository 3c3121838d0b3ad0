// The daemon's metrics: events in, Prometheus's text format out. Not a store of states: those are
// read when somebody asks; nor where the text goes (metrics_server.h, textfile.h). prometheus-cpp
// stays in the .cc. Design note: daemon/metrics/README.md.
#pragma once

#include <memory>
#include <string>

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

}  // namespace nodecomm
