// The daemon as a whole: which parts there are, what each is given, in which order they start and
// stop. Not the process (main.cc): no signals, no command line. Design note: daemon/README.md.
#pragma once

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "daemon/config/config.h"
#include "daemon/config/reload.h"
#include "daemon/group/group_registry.h"
#include "daemon/main/gpu_service.h"
#include "daemon/main/log.h"
#include "daemon/main/log_limit.h"
#include "daemon/main/logged_groups.h"
#include "daemon/main/published_metrics.h"
#include "daemon/memory/plane_pool.h"
#include "daemon/memory/plane_source.h"
#include "daemon/metrics/metrics.h"
#include "daemon/proof/pair_probe.h"
#include "daemon/proof/peer_prover.h"
#include "daemon/service/rpc_server.h"
#include "daemon/session/runtime_dir.h"
#include "daemon/session/session_server.h"
#include "daemon/topology/admission.h"
#include "daemon/topology/host_state.h"
#include "daemon/topology/inventory.h"
#include "daemon/watch/gpu_watcher.h"

namespace nodecomm {

// One thread.
class Daemon {
 public:
  struct Options {
    Config config;
    std::string config_path;     // where the configuration was read; empty: nowhere
    std::string simulate_path;   // empty: this host's own GPUs
    RuntimeDir::Listeners kept;  // of an earlier daemon, as systemd kept them
  };

  // When it returns, workers are served: those of an earlier daemon may go on, and deaths are
  // noticed. Administrators are answered. Groups form later.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(Options options);
  ~Daemon();

  // True once peer access is proven or has failed to be, which is then in the log.
  bool WaitUntilProven(absl::Duration timeout);

  // From now on groups come to be, though the pools may still be filling. Once.
  void StartForming();

  // True once the pools are full or have failed to fill, which is then in the log.
  bool WaitUntilPoolsFilled(absl::Duration timeout);

  // What a daemon that serves still waits for, as systemctl status shows it; empty: it is ready.
  std::string WaitsFor() const;

  // What of its host a daemon that was ready has lost since, that it cannot tell, or that it has no
  // descriptors, no room or no threads for what it is to do; empty: nothing.
  std::string Lacks() const;

  // Likewise for administrators, who may ask while it stops, too. Thread-safe.
  std::string NotReady() const;

  int Gpus() const;
  // Neither lost nor drained.
  int GpusInService() const;

  // Whether its threads still do their work: looks, and waits 1 s at most for one.
  bool IsAlive() const;

  // Takes what of `fresh` a running daemon can take; says what was taken and what was not.
  ConfigChanges Reload(const Config& fresh);
  // There was nothing to take: says so to those who ask, until a reload works.
  void ReloadFailed(std::string problem);
  // Why the file of metrics could not be written; empty: it could, or there is none. Thread-safe.
  std::string metrics_problem() const {
    absl::MutexLock lock(&in_force_mu_);
    return metrics_problem_;
  }
  // Why the last reload failed; empty: it worked, or there was none. Thread-safe.
  std::string reload_problem() const {
    absl::MutexLock lock(&in_force_mu_);
    return reload_problem_;
  }

  // Says to those who ask (health, metrics) that the daemon is ready: it waits for nothing more.
  void SetReady();

  // Says to those who ask for its health whether there is anything to serve, if that has changed.
  void TellHealth();

  // Whether clients, and a daemon that starts, still find this one by its runtime directory; what
  // is lost of that, or empty. Says so to those who ask, too. Where nothing is, also whether it can
  // be written in, which is among what the daemon lacks.
  std::string CheckRuntimeDir();

  // Tries pairs again that could not be proven for want of descriptors, memory or time.
  void RetryProofs();

  // Reads the host anew; groups with a rank on a GPU that has been lost are told. Thread-safe.
  absl::Status RefreshHost();

  // From now on no group comes to be; those there are go on.
  void StopForming();
  // Groups that are not over.
  bool HasGroups() const;
  // Ends the groups that are left.
  void AbortGroups();

  // Ends sessions, answers what waits, removes the sockets. Bounded in time. Idempotent; also at
  // destruction.
  void Stop();

  // What is in force. Thread-safe.
  Config config() const {
    absl::MutexLock lock(&in_force_mu_);
    return in_force_;
  }
  const std::string& runtime_dir() const { return config_.runtime_dir; }

 private:
  explicit Daemon(Config config) : config_(std::move(config)), in_force_(config_) {}

  void StopCalls();

  // The steps of Start, in order.
  absl::Status TakeRuntimeDir();
  absl::Status ReadHost(const std::string& simulate_path);
  absl::Status ReadDrained();
  absl::Status MakePools();
  absl::Status StartProofs();
  absl::Status MakeSessions(RuntimeDir::Listeners kept);
  absl::Status MakeGroups();
  absl::Status MakeCalls();
  absl::Status MakeGpuService();
  absl::Status PublishMetrics();
  void TakeTextfileNews(const absl::Status& written);
  void Serve();
  v1::GetConfigResponse ConfigInForce() const;
  // Nothing is waited for, and nothing is missing.
  bool IsReady() const;
  std::string host_problem() const {
    absl::MutexLock lock(&in_force_mu_);
    return host_problem_;
  }
  // Whether or not a GPU is drained.
  absl::Status ReadHostAnew();
  // How the last reading of the host went: each change is logged. What was wrong, for people;
  // empty: nothing.
  std::string TakeHostNews(const absl::Status& read);
  std::string runtime_dir_problem() const {
    absl::MutexLock lock(&in_force_mu_);
    return runtime_dir_problem_;
  }
  std::string write_problem() const {
    absl::MutexLock lock(&in_force_mu_);
    return write_problem_;
  }
  ByteCount proof_bytes() const;

  void TakeGroupNews(const GroupNews& news);
  void TakeRefusal(const Refusal& refusal);
  void TakeAuthFailure(AuthFailure failure, const PeerCredentials& peer);
  absl::StatusOr<std::unique_ptr<GpuWatcher>> StartWatcher(GpuService::WatcherNews news);
  void TakeXid(const XidEvent& event);

  void LogHost() const;
  void LogPools() const;
  // Groups of an earlier daemon.
  void LogTakenOver() const;

  // In the order of creation, so that each is destroyed before what it was given.
  const Config config_;  // as it was at the start
  mutable absl::Mutex in_force_mu_;
  Config in_force_ ABSL_GUARDED_BY(in_force_mu_);
  std::string reload_problem_ ABSL_GUARDED_BY(in_force_mu_);
  std::vector<ConfigChange> waiting_ ABSL_GUARDED_BY(in_force_mu_);  // for a restart
  std::string runtime_dir_problem_ ABSL_GUARDED_BY(in_force_mu_);
  std::string write_problem_ ABSL_GUARDED_BY(in_force_mu_);
  std::string host_problem_ ABSL_GUARDED_BY(in_force_mu_);
  std::string metrics_problem_ ABSL_GUARDED_BY(in_force_mu_);
  std::string config_path_;
  v1::Platform platform_ = v1::PLATFORM_UNSPECIFIED;
  // Every part may tell it something.
  const std::unique_ptr<Metrics> metrics_ = Metrics::Create();
  std::atomic<bool> ready_ = false;
  std::atomic<bool> stopping_ = false;
  bool serves_ = false;   // workers
  bool healthy_ = false;  // as those were told who ask for the daemon's health
  UserLogLimit user_lines_{kUserLinesPerSecondMax, kUserLinesBurst};  // of sessions and groups
  LogLimit refusals_logged_;
  LogLimit no_records_logged_{kFailedGroupLinesMax};  // of workers that come back
  LogLimit auth_failures_logged_;
  LogLimit failed_groups_logged_{kFailedGroupLinesMax};  // that never became ready
  std::unique_ptr<RuntimeDir> runtime_dir_;
  std::unique_ptr<Inventory> inventory_;
  std::unique_ptr<HostState> host_;
  std::set<std::string> drained_at_start_;  // GPUs
  std::unique_ptr<Admission> admission_;
  std::unique_ptr<PlaneSource> source_;
  std::unique_ptr<PlanePool> pool_;
  std::unique_ptr<PairProbe> probe_;
  std::unique_ptr<PeerProver> prover_;
  std::unique_ptr<SessionServer> sessions_;
  std::unique_ptr<GroupRegistry> groups_;
  std::unique_ptr<LoggedGroups> logged_groups_;
  std::unique_ptr<GpuService> gpus_;
  std::unique_ptr<RpcServer> calls_;
  std::unique_ptr<PublishedMetrics> published_metrics_;
};

}  // namespace nodecomm
