// What a daemon that serves workers still waits for before it calls itself ready: GPUs, the fabric,
// proofs, pools; and what of its host it has lost since. Not the waiting, nor who is told
// (service_manager.h).
#pragma once

#include <string>
#include <vector>

#include "nodecomm/v1/admin.pb.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// What is known of proofs that are yet to come (daemon/proof/peer_prover.h).
struct ProofsToCome {
  v1::PeerCheckProgress progress = {};
  int pairs_lacking = 0;      // could not be proven for want of something, and are tried again
  bool lacks_thread = false;  // a run had none, and is tried again
};

// For people, the first thing that is missing, and what to look at; empty: it is ready.
std::string WaitsFor(const v1::Host& host, const ProofsToCome& proofs,
                     const std::vector<v1::PoolInfo>& pools);

// For people, what was there and is missing now: GPUs that are lost, those without their fabric;
// empty: nothing. One that is drained is an administrator's wish, and not missed. Pools and proofs
// are not looked at: they come and go with groups and drains.
std::string Lacks(const v1::Host& host);

// For people, of a daemon that has no thread for a run of proofs.
inline constexpr char kLacksThread[] =
    "a thread to prove peer access of pairs of GPUs is missing: those without a proof have no fast "
    "path meanwhile; it is tried again (raise TasksMax= of the unit, or pids.max of the container)";

// For people, that no worker can be taken for want of file descriptors; empty: it can.
std::string LacksFds(int open_fds, int open_fds_max);

// Whether any GPU is neither lost nor without its fabric, so that there is something to serve.
bool HasUsableGpu(const v1::Host& host);

}  // namespace nodecomm
