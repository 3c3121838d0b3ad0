// Who may form which groups, and with what: the rules of the configuration, applied to the host as
// it is now. Not the rendezvous (daemon/group), nor the rules of the fast path themselves
// (fast_path.h). Design note: daemon/topology/README.md, "admission".
#pragma once

#include <sys/types.h>

#include <map>
#include <set>
#include <span>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "daemon/topology/fast_path.h"
#include "daemon/topology/host_state.h"
#include "nodecomm/v1/control.pb.h"

namespace nodecomm {

// By GPU UUID: who may use it. A GPU that is not there is for everybody.
using GpuUsers = std::map<std::string, std::set<uid_t>, std::less<>>;

// Thread-safe.
class Admission {
 public:
  // `state` outlives it.
  Admission(const HostState* state, FastPathPolicy policy, GpuUsers users)
      : state_(state), policy_(policy), users_(std::move(users)) {}

  // For groups that are formed from now on.
  void SetRules(FastPathPolicy policy, GpuUsers users);

  v1::Host host() const { return state_->host(); }
  bool allows_gpu_sharing() const {
    absl::MutexLock lock(&mu_);
    return policy_.allow_gpu_sharing;
  }

  // PermissionDenied: the configuration reserves the GPU for others. Root is a user like any other.
  absl::Status CheckUser(uid_t uid, const std::string& gpu_uuid) const;

  // `gpu_uuids` in rank order.
  v1::FastPath DecideFastPath(std::span<const std::string> gpu_uuids) const;

 private:
  const HostState* const state_;
  mutable absl::Mutex mu_;
  FastPathPolicy policy_ ABSL_GUARDED_BY(mu_);
  GpuUsers users_ ABSL_GUARDED_BY(mu_);
};

}  // namespace nodecomm
