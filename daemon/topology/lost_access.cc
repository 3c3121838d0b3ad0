#include "daemon/topology/lost_access.h"

#include <set>
#include <string>
#include <utility>

#include "daemon/topology/links.h"

namespace nodecomm {
namespace {

bool ShouldHaveIt(const v1::Gpu& gpu) {
  return gpu.condition() == v1::GPU_CONDITION_UNSPECIFIED && !WaitsForFabric(gpu) &&
         gpu.mig_mode() != v1::MIG_MODE_ENABLED;
}

}  // namespace

std::vector<v1::Link> FindLostAccess(const v1::Host& host, const v1::PeerProofs& proofs) {
  std::set<std::pair<std::string, std::string>> proven;
  for (const v1::PeerProof& proof : proofs.proofs()) {
    if (proof.verdict() != v1::PROOF_VERDICT_PROVEN) continue;
    proven.insert({proof.from_uuid(), proof.to_uuid()});
  }
  std::set<std::string> should_have_it;
  for (const v1::Gpu& gpu : host.gpus()) {
    if (ShouldHaveIt(gpu)) should_have_it.insert(gpu.uuid());
  }
  std::vector<v1::Link> lost;
  for (const v1::Link& link : host.links()) {
    if (link.peer_access() != v1::PEER_ACCESS_NOT_SUPPORTED) continue;
    if (!should_have_it.contains(link.from_uuid()) || !should_have_it.contains(link.to_uuid())) {
      continue;
    }
    if (!IsNvlink(link) && !proven.contains({link.from_uuid(), link.to_uuid()})) continue;
    lost.push_back(link);
  }
  return lost;
}

}  // namespace nodecomm
