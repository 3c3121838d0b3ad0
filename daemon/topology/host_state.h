// The host as the daemon knows it at this moment: its topology, the proofs of peer access, and what
// has befallen each GPU since. Not a reader of any of it: the inventory, the proofs and the watcher
// write here, and whoever decides reads. Design note: daemon/topology/README.md, "state".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// Thread-safe.
class HostState {
 public:
  explicit HostState(v1::Host host);

  v1::Host host() const;
  v1::PeerProofs proofs() const;

  // Takes a fresh reading. Conditions that were set here stay, and a GPU that the reading no longer
  // has stays too, as lost: groups may still hold its memory. Returns the UUIDs of GPUs that are
  // lost now and were not before.
  std::vector<std::string> Update(v1::Host fresh);

  // What NVLinks have counted since this object was made, of GPUs that have any; by UUID.
  std::map<std::string, uint64_t> NewLinkErrors() const;

  // Of a GPU that the host has; others are ignored.
  void SetCondition(const std::string& gpu_uuid, v1::GpuCondition condition, std::string reason);

  // Replaces the pair's earlier proof.
  void SetProof(const v1::PeerProof& proof);
  // For what says only that nothing is known: does nothing where something is.
  void SetProofIfNone(const v1::PeerProof& proof);
  // Of pairs with this GPU.
  void ForgetProofs(const std::string& gpu_uuid);
  // Replaces all.
  void SetProofs(v1::PeerProofs proofs);

 private:
  struct Condition {
    v1::GpuCondition condition;
    std::string reason;
  };

  void RememberLinkErrors() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  v1::Host host_ ABSL_GUARDED_BY(mu_);
  v1::PeerProofs proofs_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Condition> conditions_ ABSL_GUARDED_BY(mu_);  // by UUID
  // As they were first read, by UUID.
  std::map<std::string, uint64_t> link_errors_before_ ABSL_GUARDED_BY(mu_);
};

}  // namespace nodecomm
