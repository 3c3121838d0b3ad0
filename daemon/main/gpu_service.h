// Takes GPUs out of service and back: an administrator's drain and undrain. What must happen to
// which part, in which order, so that in the end no process of the daemon has the GPU's device file
// open. Not who may ask (admin.sock), nor what a draining GPU means for groups (Admission). Design
// note: daemon/README.md, "drain".
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "daemon/group/group_registry.h"
#include "daemon/memory/plane_pool.h"
#include "daemon/memory/plane_source.h"
#include "daemon/proof/peer_prover.h"
#include "daemon/service/daemon_view.h"
#include "daemon/topology/host_state.h"
#include "daemon/watch/gpu_watcher.h"
#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

inline constexpr char kDrainReason[] =
    "drained by an administrator (nodecommctl undrain takes it back)";

// Thread-safe.
class GpuService final : public GpuControl {
 public:
  // All outlive it.
  struct Parts {
    HostState* host = nullptr;
    GroupRegistry* groups = nullptr;
    PlanePool* pool = nullptr;
    PlaneSource* source = nullptr;
    PeerProver* prover = nullptr;
  };
  // Starts a watcher of all GPUs, with this for its news. May return null.
  using WatcherNews = std::function<void(std::string_view problem)>;
  using StartWatcher = std::function<absl::StatusOr<std::unique_ptr<GpuWatcher>>(WatcherNews)>;
  // Brings what is known of the host up to date.
  using ReadHost = std::function<void()>;

  // `drained`: GPUs that an earlier daemon was told to let go of; the parts know of them already.
  // Those that are drained are kept in `drained_path`.
  GpuService(Parts parts, StartWatcher start_watcher, ReadHost read_host, std::string drained_path,
             std::set<std::string> drained);

  // Watches all GPUs from the daemon's start on, if none is drained.
  absl::Status Start();

  // Calls `read` and returns true. Reading the host's state opens all GPUs or none, so not while
  // any is drained, and none counts as drained while one reads.
  bool ReadUnlessDrained(absl::FunctionRef<void()> read);

  // For whoever makes the parts: those that may be held, if not all.
  static std::optional<std::vector<std::string>> Served(const v1::Host& host,
                                                        const std::set<std::string>& drained);

  // NotFound: the host has no such GPU. Seconds, at the first call: the watcher is started anew.
  // Where that cannot be written down it is an error, and the GPU is out of service all the same.
  absl::StatusOr<v1::DrainGpuResponse> Drain(const v1::DrainGpuRequest& request) override;
  // Nothing to do for a GPU that is neither drained nor lost; a drained one may be gone. If it
  // fails the GPU is as it was, and it may be tried again.
  absl::StatusOr<v1::UndrainGpuResponse> Undrain(const v1::UndrainGpuRequest& request) override;
  std::vector<std::string> DrainedAndGone() const override;
  std::string WhyErrorsAreNotWatched() const override;

 private:
  // Lets nobody hold a drained GPU open. NVML attaches to all GPUs of the host or to none, so there
  // is no watcher while any is drained.
  absl::Status HoldOnlyServed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status TakeBack(const std::string& uuid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // As GpuWatcher's news.
  void TakeWatcherNews(std::string_view problem);
  void SetHoldsAll(bool holds_all) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsBeingRead() const;
  // Writes down which GPUs are drained, unless that has been done.
  absl::Status Save() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Parts parts_;
  const StartWatcher start_watcher_;
  const ReadHost read_host_;
  const std::string drained_path_;
  mutable absl::Mutex mu_;  // held while parts are called: one drain at a time
  std::set<std::string> drained_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> saved_ ABSL_GUARDED_BY(mu_);  // what the file says
  // Of its own, so that whoever asks waits for no drain. What is gone is set at the start, and
  // taken from by Undrain: the host is not read anew while a GPU is drained.
  mutable absl::Mutex shown_mu_ ABSL_ACQUIRED_AFTER(mu_);
  std::set<std::string> gone_ ABSL_GUARDED_BY(shown_mu_);
  bool holds_all_ ABSL_GUARDED_BY(shown_mu_) = true;  // no GPU is drained
  std::string watcher_problem_ ABSL_GUARDED_BY(shown_mu_);
  int readings_ ABSL_GUARDED_BY(shown_mu_) = 0;
  bool save_failed_ ABSL_GUARDED_BY(mu_) = false;  // which is in the log
  std::unique_ptr<GpuWatcher> watcher_ ABSL_GUARDED_BY(mu_);
};

}  // namespace nodecomm
