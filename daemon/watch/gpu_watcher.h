// Runs nodecomm-watcher and hands on what it says: critical errors of GPUs, as they happen.
// A program of its own, because who waits for the driver's events holds every GPU's device file
// open, and a GPU that is held open can't be reset. Design note: daemon/watch/README.md.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/unique_fd.h"
#include "daemon/process/thread.h"
#include "daemon/watch/watch_line.h"

namespace nodecomm {

class GpuWatcher {
 public:
  struct Options {
    std::string program;
    // Both callbacks come on the watcher's thread.
    std::function<void(const XidEvent&)> on_xid;
    // Why errors are not watched: the program ended, or could not be started; it is started again
    // after a while. Empty: they are watched from now on.
    std::function<void(std::string_view problem)> news = [](std::string_view) {};
    // Doubled with each failure, up to the greater.
    absl::Duration restart_after = absl::Seconds(1);
    absl::Duration restart_after_max = absl::Minutes(5);
  };

  // ResourceExhausted and the like: no thread or descriptor is left. What becomes of the program is
  // told by `news`.
  static absl::StatusOr<std::unique_ptr<GpuWatcher>> Start(Options options);
  // Ends the program.
  ~GpuWatcher();

 private:
  GpuWatcher(Options options, UniqueFd stop)
      : options_(std::move(options)), stop_(std::move(stop)) {}

  void Run();
  // Runs the program once, until it ends or the watcher does. How it ended; nothing if the watcher
  // does.
  absl::StatusOr<std::string> RunOnce();
  // False: the watcher ends.
  bool ReadLines(int fd);
  bool Sleep(absl::Duration duration);
  void TakeLine(std::string_view line);

  const Options options_;
  const UniqueFd stop_;  // an eventfd, readable once the watcher ends
  Thread thread_;
};

}  // namespace nodecomm
