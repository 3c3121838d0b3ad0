// A nodecommd of a test's own, as a child process, on a simulated host or this one.
// Not a fake: it is the program that is installed.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {

class DaemonProcess {
 public:
  struct Options {
    std::string program;   // nodecommd
    std::string topology;  // file of the host to simulate; empty: this host's GPUs
    std::string config;    // text of a configuration file; empty: none
    // A program and its arguments that are to start it with its own behind them; {}: none.
    std::vector<std::string> wrapper = {};
    bool keep_log =
        false;  // in a file, for ReadLog(); otherwise it goes where the test's output goes
  };

  // Returns once the daemon takes connections. Call from a thread that outlives the daemon: its end
  // would be the daemon's.
  static absl::StatusOr<std::unique_ptr<DaemonProcess>> Start(const Options& options);
  // Kills it if it still runs.
  ~DaemonProcess();

  const std::string& runtime_dir() const { return runtime_dir_; }
  pid_t pid() const { return pid_; }
  // All that it has said so far.
  std::string ReadLog() const;

  // Asks it to end (SIGTERM) and waits. Internal: it did not end with 0.
  absl::Status Stop();
  // Ends it without a chance to clean up, and waits.
  void Kill();
  // Starts it again as it was started, after it was killed.
  absl::Status Restart();

 private:
  DaemonProcess() = default;
  absl::Status WaitUntilReady() const;
  // The process's wait status.
  int Wait();

  TemporaryDirectory directory_;
  std::string runtime_dir_;
  std::vector<std::string> arguments_;
  std::string log_path_;  // empty: not kept
  pid_t pid_ = -1;
};

}  // namespace nodecomm
