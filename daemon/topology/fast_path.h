// Whether a group of these GPUs may use the fast path: one pure function of topology, proofs of
// peer access and policy. Not an error path: a group without fast path is formed all the same, and
// its members are told why and what to use. Design note: daemon/topology/README.md, "fast path".
#pragma once

#include <span>
#include <string>

#include "client/base/quantities.h"
#include "nodecomm/v1/control.pb.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

struct FastPathPolicy {
  bool allow_pci = false;          // more than two GPUs over PCIe
  bool allow_gpu_sharing = false;  // several ranks on one GPU
  bool trust_driver = false;       // proofs are not asked for
  bool allow_unproven = false;     // a pair whose proof could not run is taken as proven
  bool disabled = false;           // nobody gets the fast path
};

// `gpu_uuids` in rank order; all are in `host`. World size 1 is always supported (a copy).
v1::FastPath DecideFastPath(const v1::Host& host, const v1::PeerProofs& proofs,
                            std::span<const std::string> gpu_uuids, const FastPathPolicy& policy);

}  // namespace nodecomm
