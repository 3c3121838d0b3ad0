#include "daemon/proof/pair_probe.h"

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace nodecomm {

std::vector<v1::PeerProof> Unproven(const GpuPair& pair, const std::string& reason) {
  std::vector<v1::PeerProof> proofs(2);
  proofs[0].set_from_uuid(pair.a);
  proofs[0].set_to_uuid(pair.b);
  proofs[1].set_from_uuid(pair.b);
  proofs[1].set_to_uuid(pair.a);
  for (v1::PeerProof& proof : proofs) {
    proof.set_verdict(v1::PROOF_VERDICT_UNPROVEN);
    proof.set_reason(reason);
    proof.set_unix_time_ms(absl::ToUnixMillis(absl::Now()));
  }
  return proofs;
}

}  // namespace nodecomm
