// The metrics as a file, rewritten at intervals: for node_exporter's textfile collector, which asks
// for no port. Not the metrics themselves (metrics.h). Design note: daemon/metrics/README.md.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/base/steady_wait.h"

namespace nodecomm {

class MetricsTextfile {
 public:
  struct Options {
    std::string path;
    absl::Duration interval = absl::Seconds(15);
    // What the file is to hold; called on the writer's thread.
    std::function<std::string()> expose;
    // A write failed after one that did not, or the other way round; on the writer's thread.
    std::function<void(const absl::Status&)> news = [](const absl::Status&) {};
  };

  // Writes the file once before it returns: what can't be written is known at the start.
  static absl::StatusOr<std::unique_ptr<MetricsTextfile>> Start(Options options);
  // Removes the file: what it says is true no more.
  ~MetricsTextfile();

 private:
  explicit MetricsTextfile(Options options) : options_(std::move(options)) {}

  absl::Status Write() const;
  // False: the file ends.
  bool WaitForNextWrite();
  void Run();

  const Options options_;
  absl::Mutex mu_;
  SteadyCondVar stops_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace nodecomm
