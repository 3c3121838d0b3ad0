// Serves the metrics over HTTP on the loopback address. Not what they say (metrics.h), nor HTTP's
// text (http_text.h). Design note: daemon/metrics/README.md.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "client/base/unique_fd.h"
#include "daemon/process/thread.h"

namespace nodecomm {

// Serves http://127.0.0.1:port/metrics until it is destroyed, which waits for nobody.
class MetricsServer {
 public:
  // Prometheus has one.
  static constexpr size_t kConnectionsMax = 64;

  struct Options {
    int port = 0;  // 0: one that is free
    // The metrics as text. Called on the server's thread whenever somebody reads.
    std::function<std::string()> expose;
    // From connecting to having the whole answer; who takes longer is cut off.
    absl::Duration timeout = absl::Seconds(5);
  };
  // Unavailable: the port is taken.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(Options options);
  ~MetricsServer();

  int port() const { return port_; }

 private:
  struct Connection {
    UniqueFd fd;
    SteadyTime deadline;
    std::string request;
    std::string answer;  // empty: the request is not complete yet
    size_t sent = 0;
  };
  enum class After { kGoesOn, kEnds };

  explicit MetricsServer(Options options) : options_(std::move(options)) {}

  absl::Status Listen();
  void Run();
  void Accept();
  After Serve(Connection& connection) const;
  After Read(Connection& connection) const;
  static After Write(Connection& connection);
  SteadyTime NextDeadline() const;

  const Options options_;
  int port_ = 0;
  UniqueFd listener_;
  UniqueFd stop_;                      // an eventfd; readable: the thread ends
  std::list<Connection> connections_;  // the oldest first; the thread's
  SteadyTime accepts_at_ = SteadyTime::InfinitePast();
  Thread thread_;
};

}  // namespace nodecomm
