// The rules of daemon/topology/fast_path.h, one function each.
// Not a measurement: what the host says of itself is believed here; unknown facts are handled as
// each rule says. Design note: daemon/topology/README.md, "fast path".
#include "daemon/topology/fast_path.h"

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace nodecomm {
namespace {

// The kernels need the memory model and the instructions of this generation and later.
constexpr int kComputeCapabilityMajorMin = 8;

constexpr char kAdvice[] = "Use NCCL for this group.";

// One rule's answer: why not, or nothing.
struct Objection {
  v1::FastPathReason reason;
  std::string what;
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

bool IsNvlink(const v1::Link& link) {
  return link.kind() == v1::LINK_KIND_NVLINK || link.kind() == v1::LINK_KIND_NVSWITCH;
}

std::string PairName(std::span<const std::string> uuids, size_t a, size_t b) {
  return absl::StrFormat("rank %d (%s) and rank %d (%s)", a, uuids[a], b, uuids[b]);
}

std::optional<Objection> CheckWorldSize(std::span<const std::string> uuids) {
  if (!uuids.empty() && uuids.size() <= kWorldSizeMax) return std::nullopt;
  return Objection{v1::FAST_PATH_REASON_WORLD_SIZE,
                   absl::StrFormat("a group of %d ranks; the fast path serves 1 to %d",
                                   uuids.size(), kWorldSizeMax)};
}

// An unknown MIG mode or compute capability does not object: the worker's own CUDA would have said
// so by now.
std::optional<Objection> CheckGpus(const v1::Host& host, std::span<const std::string> uuids) {
  for (size_t rank = 0; rank < uuids.size(); ++rank) {
    const v1::Gpu* gpu = FindGpu(host, uuids[rank]);
    if (gpu == nullptr) continue;
    if (gpu->mig_mode() == v1::MIG_MODE_ENABLED) {
      return Objection{v1::FAST_PATH_REASON_MIG,
                       absl::StrFormat("the GPU of rank %d (%s) is in MIG mode, which has no peer "
                                       "access",
                                       rank, uuids[rank])};
    }
    const int major = gpu->compute_capability_major();
    if (major != 0 && major < kComputeCapabilityMajorMin) {
      return Objection{
          v1::FAST_PATH_REASON_ARCHITECTURE,
          absl::StrFormat("the GPU of rank %d (%s, %s) has compute capability %d.%d; the fast path "
                          "needs %d.0 or later",
                          rank, uuids[rank], gpu->name(), major, gpu->compute_capability_minor(),
                          kComputeCapabilityMajorMin)};
    }
  }
  return std::nullopt;
}

std::optional<Objection> CheckSharing(std::span<const std::string> uuids,
                                      const FastPathPolicy& policy) {
  if (policy.allow_gpu_sharing) return std::nullopt;
  for (size_t a = 0; a < uuids.size(); ++a) {
    for (size_t b = a + 1; b < uuids.size(); ++b) {
      if (uuids[a] != uuids[b]) continue;
      return Objection{v1::FAST_PATH_REASON_NOT_FULLY_CONNECTED,
                       absl::StrCat(PairName(uuids, a, b),
                                    " share a GPU, which the daemon's configuration does not "
                                    "allow (group.allow_gpu_sharing)")};
    }
  }
  return std::nullopt;
}

// Unknown is taken as yes over NVLink, which has no other use than peer access (virtual machines
// leave the question open), and as no over PCIe, where chipset, IOMMU or driver often forbid it.
std::optional<Objection> CheckPeerAccess(const v1::Host& host, std::span<const std::string> uuids) {
  for (size_t a = 0; a < uuids.size(); ++a) {
    for (size_t b = 0; b < uuids.size(); ++b) {
      if (uuids[a] == uuids[b]) continue;  // one GPU needs no link to itself
      const v1::Link link = FindLink(host, uuids[a], uuids[b]);
      if (link.peer_access() == v1::PEER_ACCESS_SUPPORTED) continue;
      const bool is_no = link.peer_access() == v1::PEER_ACCESS_NOT_SUPPORTED;
      if (!is_no && IsNvlink(link)) continue;
      const std::string_view cause = link.peer_access_reason().empty()
                                         ? std::string_view("no reason given")
                                         : std::string_view(link.peer_access_reason());
      return Objection{
          v1::FAST_PATH_REASON_PEER_ACCESS,
          absl::StrFormat("%s: peer access from the first GPU to the second is %s (%s)",
                          PairName(uuids, a, b), is_no ? "not supported" : "unknown", cause)};
    }
  }
  return std::nullopt;
}

// Two GPUs may talk over PCIe; with more, every rank's pushes share one PCIe port, and NCCL's ring
// is faster.
std::optional<Objection> CheckFullyConnected(const v1::Host& host,
                                             std::span<const std::string> uuids,
                                             const FastPathPolicy& policy) {
  const std::set<std::string_view> gpus(uuids.begin(), uuids.end());
  if (gpus.size() <= 2 || policy.allow_pci) return std::nullopt;
  for (size_t a = 0; a < uuids.size(); ++a) {
    for (size_t b = 0; b < uuids.size(); ++b) {
      if (uuids[a] == uuids[b] || IsNvlink(FindLink(host, uuids[a], uuids[b]))) continue;
      return Objection{
          v1::FAST_PATH_REASON_NOT_FULLY_CONNECTED,
          absl::StrFormat("%s are not joined by NVLink, which a group of more than two GPUs needs "
                          "(group.allow_pci lifts this)",
                          PairName(uuids, a, b))};
    }
  }
  return std::nullopt;
}

std::optional<Objection> FirstObjection(const v1::Host& host, std::span<const std::string> uuids,
                                        const FastPathPolicy& policy) {
  if (auto objection = CheckWorldSize(uuids)) return objection;
  if (uuids.size() == 1) return std::nullopt;  // a copy
  if (auto objection = CheckGpus(host, uuids)) return objection;
  if (auto objection = CheckSharing(uuids, policy)) return objection;
  if (auto objection = CheckPeerAccess(host, uuids)) return objection;
  return CheckFullyConnected(host, uuids, policy);
}

}  // namespace

v1::FastPath DecideFastPath(const v1::Host& host, std::span<const std::string> gpu_uuids,
                            const FastPathPolicy& policy) {
  v1::FastPath answer;
  const std::optional<Objection> objection = FirstObjection(host, gpu_uuids, policy);
  answer.set_supported(!objection.has_value());
  if (objection.has_value()) {
    answer.set_reason(objection->reason);
    answer.set_detail(absl::StrCat("No fast path: ", objection->what, ". ", kAdvice));
  }
  return answer;
}

}  // namespace nodecomm
