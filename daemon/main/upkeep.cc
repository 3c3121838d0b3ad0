#include "daemon/main/upkeep.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <string.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/main/log.h"
#include "daemon/main/service_manager.h"
#include "daemon/main/signals.h"

namespace nodecomm {
namespace {

// Errors that end work come by themselves (nodecomm-watcher); this finds counters that grow and
// GPUs that are gone without a word. A reading keeps the driver busy for tens of milliseconds.
constexpr absl::Duration kRefreshInterval = absl::Minutes(1);
// Somebody waits for the host to become ready.
constexpr absl::Duration kRefreshIntervalNotReady = absl::Seconds(1);
// A dozen looks at files, and four that are made and removed.
constexpr absl::Duration kRuntimeDirInterval = absl::Seconds(5);
// Nothing, unless some could not be tried.
constexpr absl::Duration kRetryProofsInterval = absl::Seconds(5);

// A list without entries reads as nothing.
std::string ValueOf(const std::string& text) { return text.empty() ? "not set" : Escaped(text); }

void LogChanges(const ConfigChanges& changes) {
  for (const ConfigChange& change : changes.taken) {
    spdlog::info("reload: {} is now {}, was {}", change.field, ValueOf(change.after),
                 ValueOf(change.before));
  }
  for (const ConfigChange& change : changes.waiting) {
    spdlog::warn("reload: {} stays {}; {} takes a restart", change.field, ValueOf(change.before),
                 ValueOf(change.after));
  }
  const size_t taken = changes.taken.size();
  const size_t waiting = changes.waiting.size();
  spdlog::info("reload: done, {} setting{} taken, {} wait{} for a restart", taken,
               taken == 1 ? "" : "s", waiting, waiting == 1 ? "s" : "");
}

}  // namespace

Upkeep::Upkeep(Daemon* daemon, ReadConfig read_config)
    : daemon_(daemon),
      read_config_(std::move(read_config)),
      watchdog_interval_(WatchdogInterval()),
      refresh_at_(SteadyNow() + kRefreshIntervalNotReady),
      check_runtime_dir_at_(SteadyNow() + kRuntimeDirInterval),
      retry_proofs_at_(SteadyNow() + kRetryProofsInterval) {}

int Upkeep::Run() {
  while (true) {
    TellHowItIs();
    const std::optional<int> signal_number = WaitForSignal(TimeToWait());
    if (signal_number == SIGHUP) {
      Reload();
    } else if (signal_number.has_value() && IsMeaningless(*signal_number)) {
      spdlog::warn("signal {} ({}) is ignored: SIGHUP reloads, SIGTERM stops", *signal_number,
                   strsignal(*signal_number));
    } else if (signal_number.has_value()) {
      return *signal_number;
    }
    if (SteadyNow() >= refresh_at_) RefreshHost();
    if (SteadyNow() >= check_runtime_dir_at_) CheckRuntimeDir();
    if (SteadyNow() >= retry_proofs_at_) {
      daemon_->RetryProofs();
      retry_proofs_at_ = SteadyNow() + kRetryProofsInterval;
    }
  }
}

absl::Duration Upkeep::TimeToWait() const {
  const absl::Duration left =
      std::min(std::min({refresh_at_, check_runtime_dir_at_, retry_proofs_at_}) - SteadyNow(),
               watchdog_interval_);
  return std::max(left, absl::ZeroDuration());
}

void Upkeep::RefreshHost() {
  daemon_->RefreshHost().IgnoreError();  // which logs it
  refresh_at_ = SteadyNow() + (ready_ ? kRefreshInterval : kRefreshIntervalNotReady);
}

void Upkeep::CheckRuntimeDir() {
  check_runtime_dir_at_ = SteadyNow() + kRuntimeDirInterval;
  const std::string problem = daemon_->CheckRuntimeDir();
  if (!problem.empty() && problem != runtime_dir_problem_) {
    spdlog::error(
        "{}: workers or nodecommctl cannot reach this daemon any more, or a second one could start "
        "beside it; restart it. Groups that are ready go on without the directory",
        Escaped(problem));
  } else if (problem.empty() && !runtime_dir_problem_.empty()) {
    spdlog::info("the runtime directory is whole again");
  }
  runtime_dir_problem_ = problem;
}

void Upkeep::TellHowItIs() {
  if (watchdog_interval_ != absl::InfiniteDuration()) {
    // Without the word, systemd ends a daemon whose threads are stuck, and starts another, which
    // takes the groups over.
    if (daemon_->IsAlive()) {
      SayAliveToServiceManager();
    } else {
      spdlog::error("the session thread is stuck");
    }
  }
  std::string status;
  if (!runtime_dir_problem_.empty()) {
    status = absl::StrCat("Not ready: ", runtime_dir_problem_, "; restart the daemon.");
  } else if (!ready_) {
    const std::string waits_for = daemon_->WaitsFor();
    if (waits_for.empty()) {
      ready_ = true;
      daemon_->SetReady();
      LogWhatIsMissing();
      refresh_at_ = SteadyNow() + kRefreshInterval;
      told_ = Serving();
      return SayReadyToServiceManager(told_);
    }
    status = absl::StrCat("Waiting for ", waits_for, ". Workers are served.", ReloadNote());
  } else {
    LogWhatIsMissing();
    status = Serving();
  }
  if (status == told_) return;
  told_ = std::move(status);
  if (!ready_ && runtime_dir_problem_.empty()) spdlog::warn("not ready: {}", told_);
  SayStatusToServiceManager(told_);
}

void Upkeep::LogWhatIsMissing() {
  daemon_->TellHealth();
  std::string lacks = daemon_->Lacks();
  if (lacks == lacks_) return;
  lacks_ = std::move(lacks);
  if (lacks_.empty()) {
    spdlog::info("ready again: nothing of the host is missing");
  } else {
    spdlog::warn("not ready any more: {}; the rest goes on", Escaped(lacks_));
  }
}

std::string Upkeep::Serving() const {
  return absl::StrCat("Serving workers on ", daemon_->GpusInService(), " of ", daemon_->Gpus(),
                      " GPUs.", lacks_.empty() ? "" : absl::StrCat(" Not ready: ", lacks_, "."),
                      ReloadNote());
}

std::string Upkeep::ReloadNote() const {
  return daemon_->reload_problem().empty() ? "" : " The last reload failed; see the log.";
}

void Upkeep::Reload() {
  spdlog::info("reload: reading the configuration");
  // A daemon that is not ready yet must not call itself ready after a reload.
  if (ready_) SayReloadingToServiceManager();
  const absl::StatusOr<Config> fresh = read_config_();
  if (fresh.ok()) {
    LogChanges(daemon_->Reload(*fresh));
  } else {
    spdlog::error("reload: nothing is changed: {}", Escaped(fresh.status()));
    daemon_->ReloadFailed(std::string(fresh.status().message()));
  }
  if (!ready_) return;
  told_ = Serving();
  SayReadyToServiceManager(told_);
}

}  // namespace nodecomm
