// The rules of daemon/topology/fast_path.h, one function each.
// Not a measurement: proofs are made elsewhere (daemon/proof) and can only veto.
// Design note: daemon/topology/README.md, "fast path".
#include "daemon/topology/fast_path.h"

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/topology/links.h"

namespace nodecomm {
namespace {

// The kernels need the memory model and the instructions of this generation and later.
constexpr int kComputeCapabilityMajorMin = 8;

// More than PCIe 5.0 carries over 16 lanes (63 GB/s each way, PCI-SIG); the slowest NVLinks that
// join GPUs of this generation and later carry more.
constexpr double kBeyondPciGigabytesPerSecond = 64;

// NCCL needs the same GPUs.
const char* AdviceOn(v1::FastPathReason reason) {
  return reason == v1::FAST_PATH_REASON_GPU_LOST
             ? "Nothing works there until it is reset: take another GPU."
             : "Use NCCL for this group.";
}

// One rule's answer: why not, or nothing.
struct Objection {
  v1::FastPathReason reason;
  std::string what;
};

// All that the rules look at.
struct Question {
  const v1::Host& host;
  const v1::PeerProofs& proofs;
  std::span<const std::string> uuids;  // in rank order
  const FastPathPolicy& policy;
};

const v1::Gpu* FindGpu(const v1::Host& host, std::string_view uuid) {
  for (const v1::Gpu& gpu : host.gpus()) {
    if (gpu.uuid() == uuid) return &gpu;
  }
  return nullptr;
}

// A link that the host does not list is one of which nothing is known.
v1::Link FindLink(const v1::Host& host, std::string_view from, std::string_view to) {
  for (const v1::Link& link : host.links()) {
    if (link.from_uuid() == from && link.to_uuid() == to) return link;
  }
  return v1::Link();
}

std::string PairName(std::span<const std::string> uuids, size_t a, size_t b) {
  return absl::StrFormat("rank %d (%s) and rank %d (%s)", a, uuids[a], b, uuids[b]);
}

// A pair that was not tried has no proof.
v1::PeerProof FindProof(const Question& question, size_t from, size_t to) {
  for (const v1::PeerProof& proof : question.proofs.proofs()) {
    if (proof.from_uuid() == question.uuids[from] && proof.to_uuid() == question.uuids[to]) {
      return proof;
    }
  }
  v1::PeerProof none;
  none.set_verdict(v1::PROOF_VERDICT_UNPROVEN);
  none.set_reason("not tried yet; `nodecommctl p2p check` tries it");
  return none;
}

std::string_view OrNoReason(const std::string& reason) {
  return reason.empty() ? std::string_view("no reason given") : std::string_view(reason);
}

using PairRule = std::optional<Objection> (*)(const Question&, size_t a, size_t b);

// The first objection against an ordered pair of different GPUs. One GPU needs no link to itself.
std::optional<Objection> CheckEveryPair(const Question& question, PairRule rule) {
  for (size_t a = 0; a < question.uuids.size(); ++a) {
    for (size_t b = 0; b < question.uuids.size(); ++b) {
      if (question.uuids[a] == question.uuids[b]) continue;
      if (auto objection = rule(question, a, b)) return objection;
    }
  }
  return std::nullopt;
}

std::optional<Objection> CheckWorldSize(std::span<const std::string> uuids) {
  if (!uuids.empty() && uuids.size() <= kWorldSizeMax) return std::nullopt;
  return Objection{v1::FAST_PATH_REASON_WORLD_SIZE,
                   absl::StrFormat("a group of %d ranks; the fast path serves 1 to %d",
                                   uuids.size(), kWorldSizeMax)};
}

std::optional<Objection> CheckCondition(const v1::Gpu& gpu, const std::string& name) {
  if (gpu.condition() == v1::GPU_CONDITION_LOST) {
    return Objection{v1::FAST_PATH_REASON_GPU_LOST,
                     absl::StrFormat("%s is lost: %s", name, OrNoReason(gpu.condition_reason()))};
  }
  if (gpu.condition() == v1::GPU_CONDITION_DRAINING) {
    return Objection{v1::FAST_PATH_REASON_DRAINING,
                     absl::StrFormat("%s is being taken out of service: %s", name,
                                     OrNoReason(gpu.condition_reason()))};
  }
  return std::nullopt;
}

// An unknown MIG mode, compute capability or fabric state does not object: the worker's own CUDA
// would have said so by now, and the proof will.
std::optional<Objection> CheckGpu(const v1::Gpu& gpu, const std::string& name) {
  if (auto objection = CheckCondition(gpu, name)) return objection;
  if (gpu.mig_mode() == v1::MIG_MODE_ENABLED) {
    return Objection{v1::FAST_PATH_REASON_MIG,
                     absl::StrCat(name, " is in MIG mode, which has no peer access")};
  }
  const int major = gpu.compute_capability_major();
  if (major != 0 && major < kComputeCapabilityMajorMin) {
    return Objection{v1::FAST_PATH_REASON_ARCHITECTURE,
                     absl::StrFormat("%s, %s, has compute capability %d.%d; the fast path needs "
                                     "%d.0 or later",
                                     name, gpu.name(), major, gpu.compute_capability_minor(),
                                     kComputeCapabilityMajorMin)};
  }
  if (WaitsForFabric(gpu)) {
    return Objection{v1::FAST_PATH_REASON_FABRIC_NOT_READY,
                     absl::StrCat("the NVLink fabric of ", name,
                                  " is not ready (is nvidia-fabricmanager running?)")};
  }
  return std::nullopt;
}

std::optional<Objection> CheckGpus(const Question& question) {
  for (size_t rank = 0; rank < question.uuids.size(); ++rank) {
    const v1::Gpu* gpu = FindGpu(question.host, question.uuids[rank]);
    if (gpu == nullptr) continue;
    const std::string name = absl::StrFormat("the GPU of rank %d (%s)", rank, question.uuids[rank]);
    if (auto objection = CheckGpu(*gpu, name)) return objection;
  }
  return std::nullopt;
}

std::optional<Objection> CheckSharing(const Question& question) {
  if (question.policy.allow_gpu_sharing) return std::nullopt;
  const std::span<const std::string> uuids = question.uuids;
  for (size_t a = 0; a < uuids.size(); ++a) {
    for (size_t b = a + 1; b < uuids.size(); ++b) {
      if (uuids[a] != uuids[b]) continue;
      return Objection{v1::FAST_PATH_REASON_GPU_SHARING,
                       absl::StrCat(PairName(uuids, a, b),
                                    " share a GPU, which the daemon's configuration does not "
                                    "allow (group.allow_gpu_sharing)")};
    }
  }
  return std::nullopt;
}

// Unknown is left to the proof. Where there is none, it is taken as yes over NVLink, which has no
// other use than peer access (virtual machines leave the question open), and as no over PCIe, where
// chipset, IOMMU or driver often forbid it.
std::optional<Objection> CheckPeerAccess(const Question& question, size_t a, size_t b) {
  const v1::Link link = FindLink(question.host, question.uuids[a], question.uuids[b]);
  if (link.peer_access() == v1::PEER_ACCESS_SUPPORTED) return std::nullopt;
  const bool is_no = link.peer_access() == v1::PEER_ACCESS_NOT_SUPPORTED;
  if (!is_no && (IsNvlink(link) || !question.policy.trust_driver)) return std::nullopt;
  return Objection{
      v1::FAST_PATH_REASON_PEER_ACCESS,
      absl::StrFormat("%s: peer access from the first GPU to the second is %s (%s)",
                      PairName(question.uuids, a, b), is_no ? "not supported" : "unknown",
                      OrNoReason(link.peer_access_reason()))};
}

bool IsProvenBeyondPci(const Question& question, size_t a, size_t b) {
  const v1::PeerProof proof = FindProof(question, a, b);
  return !question.policy.trust_driver && proof.verdict() == v1::PROOF_VERDICT_PROVEN &&
         proof.write_gigabytes_per_second() > kBeyondPciGigabytesPerSecond;
}

// Two GPUs may talk over PCIe; with more, every rank's pushes share one PCIe port, and NCCL's ring
// is faster. Where nobody says what the link is, a bandwidth that PCIe can't have tells.
std::optional<Objection> CheckConnected(const Question& question, size_t a, size_t b) {
  const v1::Link link = FindLink(question.host, question.uuids[a], question.uuids[b]);
  if (IsNvlink(link)) return std::nullopt;
  if (link.kind() != v1::LINK_KIND_PCI && IsProvenBeyondPci(question, a, b)) return std::nullopt;
  return Objection{
      v1::FAST_PATH_REASON_NOT_FULLY_CONNECTED,
      absl::StrFormat("%s are not %s by NVLink, which a group of more than two GPUs needs "
                      "(group.allow_pci lifts this)",
                      PairName(question.uuids, a, b),
                      link.kind() == v1::LINK_KIND_PCI ? "joined" : "known to be joined")};
}

std::optional<Objection> CheckFullyConnected(const Question& question) {
  const std::set<std::string_view> gpus(question.uuids.begin(), question.uuids.end());
  if (gpus.size() <= 2 || question.policy.allow_pci) return std::nullopt;
  return CheckEveryPair(question, CheckConnected);
}

std::optional<Objection> CheckProof(const Question& question, size_t a, size_t b) {
  const v1::PeerProof proof = FindProof(question, a, b);
  if (proof.verdict() == v1::PROOF_VERDICT_PROVEN) return std::nullopt;
  const bool failed = proof.verdict() == v1::PROOF_VERDICT_FAILED;
  if (!failed && question.policy.allow_unproven) return std::nullopt;
  return Objection{failed ? v1::FAST_PATH_REASON_PROOF_FAILED : v1::FAST_PATH_REASON_UNPROVEN,
                   absl::StrFormat("%s: peer access from the first GPU to the second %s (%s)",
                                   PairName(question.uuids, a, b),
                                   failed ? "was tried and is broken" : "is not proven",
                                   OrNoReason(proof.reason()))};
}

std::optional<Objection> FirstObjection(const Question& question) {
  if (auto objection = CheckWorldSize(question.uuids)) return objection;
  if (question.uuids.size() == 1) return std::nullopt;  // a copy
  if (question.policy.disabled) {
    return Objection{v1::FAST_PATH_REASON_DISABLED,
                     "the daemon's configuration forbids it (group.disable_fast_path)"};
  }
  if (auto objection = CheckGpus(question)) return objection;
  if (auto objection = CheckSharing(question)) return objection;
  if (auto objection = CheckEveryPair(question, CheckPeerAccess)) return objection;
  if (auto objection = CheckFullyConnected(question)) return objection;
  if (question.policy.trust_driver) return std::nullopt;
  return CheckEveryPair(question, CheckProof);
}

}  // namespace

v1::FastPath DecideFastPath(const v1::Host& host, const v1::PeerProofs& proofs,
                            std::span<const std::string> gpu_uuids, const FastPathPolicy& policy) {
  v1::FastPath answer;
  const std::optional<Objection> objection = FirstObjection({host, proofs, gpu_uuids, policy});
  answer.set_supported(!objection.has_value());
  if (objection.has_value()) {
    answer.set_reason(objection->reason);
    answer.set_detail(
        absl::StrCat("No fast path: ", objection->what, ". ", AdviceOn(objection->reason)));
  }
  return answer;
}

}  // namespace nodecomm
