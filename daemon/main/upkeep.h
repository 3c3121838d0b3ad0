// What the main thread does while the daemon serves: it looks after the host and the runtime
// directory now and then, tells the service manager how things are, and reads the configuration
// anew when it is asked to.
// Not the daemon's work, which other threads do, nor its end. Design note: README.md, "upkeep".
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "daemon/config/config.h"
#include "daemon/main/daemon.h"

namespace nodecomm {

// One thread.
class Upkeep {
 public:
  using ReadConfig = std::function<absl::StatusOr<Config>()>;

  // `daemon` outlives it. `read_config`: the configuration as a daemon that starts now would have
  // it.
  Upkeep(Daemon* daemon, ReadConfig read_config);

  // Until a signal says to stop: its number.
  int Run();

 private:
  absl::Duration TimeToWait() const;
  void RefreshHost();
  void CheckRuntimeDir();
  void TellHowItIs();
  void LogWhatIsMissing();
  void Reload();
  std::string Serving() const;  // a status
  std::string ReloadNote() const;

  Daemon* const daemon_;
  const ReadConfig read_config_;
  const absl::Duration watchdog_interval_;
  SteadyTime refresh_at_;
  SteadyTime check_runtime_dir_at_;
  SteadyTime retry_proofs_at_;
  std::string runtime_dir_problem_;
  bool ready_ = false;
  std::string lacks_;  // of the host, as the log says
  std::string told_;   // the status that the service manager has
};

}  // namespace nodecomm
