// The metrics as a file, rewritten at intervals: for node_exporter's textfile collector, which asks
// for no port. Not the metrics themselves (metrics.h). Design note: daemon/metrics/README.md.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "client/base/steady_wait.h"

namespace nodecomm {

class MetricsTextfile {
 public:
  struct Options {
    std::string path;
    absl::Duration interval = absl::Seconds(15);
    // What the file is to hold; called on the writer's thread.
    std::function<std::string()> expose;
    // A write failed after one that did not, or the other way round; AlreadyExists: it went well,
    // but somebody else writes the file, too. On the writer's thread.
    std::function<void(const absl::Status&)> news = [](const absl::Status&) {};
  };

  // Writes the file once before it returns: what can't be written is known at the start.
  static absl::StatusOr<std::unique_ptr<MetricsTextfile>> Start(Options options);
  // Removes the file, unless it is another's by now: what it says is true no more.
  ~MetricsTextfile();

 private:
  // Which file it is, of all that have its name one after the other.
  struct FileId {
    dev_t device = 0;
    ino_t inode = 0;
    int64_t written_ns = 0;
    bool operator==(const FileId&) const = default;
  };

  explicit MetricsTextfile(Options options) : options_(std::move(options)) {}

  // Nothing: there is none.
  std::optional<FileId> ReadId() const;
  // There is a file of that name, and not the one that was written here last.
  bool IsAnothers() const;
  absl::Status Write();
  // False: the file ends.
  bool WaitForNextWrite();
  void Run();

  const Options options_;
  absl::Mutex mu_;
  SteadyCondVar stops_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // The writer's; nobody else's while it runs.
  std::optional<FileId> written_;
  SteadyTime shared_until_;
  std::thread thread_;
};

}  // namespace nodecomm
