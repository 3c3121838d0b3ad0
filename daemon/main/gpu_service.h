// Takes GPUs out of service and back: an administrator's drain and undrain. What must happen to
// which part, in which order, so that in the end no process of the daemon has the GPU's device file
// open. Not who may ask (admin.sock), nor what a draining GPU means for groups (Admission). Design
// note: daemon/README.md, "drain".
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
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
  // Starts a watcher of all GPUs. May return null.
  using StartWatcher = std::function<absl::StatusOr<std::unique_ptr<GpuWatcher>>()>;

  GpuService(Parts parts, StartWatcher start_watcher);

  // Watches all GPUs, from the daemon's start on.
  absl::Status Start();

  // NotFound: the host has no such GPU. Seconds, at the first call: the watcher is started anew.
  absl::StatusOr<v1::DrainGpuResponse> Drain(const v1::DrainGpuRequest& request) override;
  // Nothing to do for a GPU that is neither drained nor lost.
  absl::StatusOr<v1::UndrainGpuResponse> Undrain(const v1::UndrainGpuRequest& request) override;

 private:
  // Lets nobody hold a drained GPU open. NVML attaches to all GPUs of the host or to none, so there
  // is no watcher while any is drained.
  absl::Status HoldOnlyServed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Parts parts_;
  const StartWatcher start_watcher_;
  absl::Mutex mu_;  // held while parts are called: one drain at a time
  std::set<std::string> drained_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<GpuWatcher> watcher_ ABSL_GUARDED_BY(mu_);
};

}  // namespace nodecomm
