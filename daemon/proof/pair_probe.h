// Tries peer access between two GPUs: the narrow interface behind which the probe program and a
// fake in the tests differ. Not the choice of pairs, not the memory of results (peer_prover.h).
// Design note: daemon/proof/README.md.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// Unordered: both directions are tried.
struct GpuPair {
  std::string a;
  std::string b;
  auto operator<=>(const GpuPair&) const = default;
};

class PairProbe {
 public:
  virtual ~PairProbe() = default;

  // Why no pair at all can be tried, as far as can be told beforehand.
  virtual absl::Status CanTry() const { return absl::OkStatus(); }

  // One proof for each direction, a to b first. Bounded in time; given up early once `cancelled` is
  // notified. What could not be tried is UNPROVEN, with the reason. ResourceExhausted, and no other
  // error: not for want of something that may be there later, as descriptors or memory.
  // Thread-safe.
  virtual absl::StatusOr<std::vector<v1::PeerProof>> Prove(const GpuPair& pair,
                                                           const absl::Notification& cancelled) = 0;
};

// Both directions without a proof, for this reason.
std::vector<v1::PeerProof> Unproven(const GpuPair& pair, const std::string& reason);

}  // namespace nodecomm
