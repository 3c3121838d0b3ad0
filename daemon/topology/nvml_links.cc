// The conclusions of daemon/topology/nvml_links.h.
// Not NVML's calls: those are behind daemon/topology/nvml.h.
// Design note: daemon/topology/README.md, "NVML".
#include "daemon/topology/nvml_links.h"

#include <array>
#include <cstddef>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace nodecomm {
namespace {

// What the active NVLink ports of one GPU lead to.
struct Ports {
  std::map<std::string, int>
      to_gpu;  // by the PCI bus id of the other end, as far as the host shows it
  int to_switch = 0;
  int to_unknown = 0;        // active, but NVML does not say where to
  bool all_answered = true;  // whether NVML said of every port whether it is active
  bool any_active() const { return !to_gpu.empty() || to_switch > 0 || to_unknown > 0; }
};

Ports ReadPorts(Nvml& nvml, NvmlGpu gpu) {
  Ports ports;
  for (int i = 0; i < kNvlinkPortsMax; ++i) {
    const NvlinkPort port{i};
    const absl::StatusOr<bool> active = nvml.NvlinkActive(gpu, port);
    // Neither "not supported" (no NVLink) nor "invalid argument" (fewer ports) is a failure to
    // answer.
    if (absl::IsUnimplemented(active.status()) || absl::IsInvalidArgument(active.status())) break;
    if (!active.ok()) ports.all_answered = false;
    if (!active.ok() || !*active) continue;
    const absl::StatusOr<NvlinkRemote> remote = nvml.NvlinkRemoteType(gpu, port);
    if (remote.ok() && *remote == NvlinkRemote::kSwitch) {
      ++ports.to_switch;
      continue;
    }
    if (remote.ok() && *remote == NvlinkRemote::kGpu) {
      const absl::StatusOr<std::string> pci_bus_id = nvml.NvlinkRemotePciBusId(gpu, port);
      if (pci_bus_id.ok()) {
        ++ports.to_gpu[*pci_bus_id];
        continue;
      }
    }
    if (remote.ok() && *remote == NvlinkRemote::kOther) continue;  // a CPU, say: joins no two GPUs
    ++ports.to_unknown;
  }
  return ports;
}

struct Peer {
  v1::PeerAccess access = v1::PEER_ACCESS_UNKNOWN;
  std::string reason;
};

Peer AskPeer(Nvml& nvml, NvmlGpu from, NvmlGpu to, PeerCapability capability) {
  absl::StatusOr<PeerAnswer> answer = nvml.Peer(from, to, capability);
  // An error is no "no": in virtual machines READ fails where peer access works.
  if (!answer.ok()) return {v1::PEER_ACCESS_UNKNOWN, std::string(answer.status().message())};
  return {answer->access, std::move(answer->word)};
}

const std::array<std::pair<const char*, PeerCapability>, 5> kCapabilities = {{
    {"read", PeerCapability::kRead},
    {"write", PeerCapability::kWrite},
    {"nvlink", PeerCapability::kNvlink},
    {"atomics", PeerCapability::kAtomics},
    {"pci", PeerCapability::kPci},
}};

void ReadCapabilities(Nvml& nvml, NvmlGpu from, NvmlGpu to, v1::Link& link) {
  for (const auto& [name, capability] : kCapabilities) {
    Peer peer = AskPeer(nvml, from, to, capability);
    v1::PeerCapability* said = link.add_capabilities();
    said->set_name(name);
    said->set_access(peer.access);
    said->set_reason(std::move(peer.reason));
  }
}

// Our kernels write to peers and let callers read, so a definite "no" to either is one; WRITE has
// to say yes.
Peer DecidePeer(Nvml& nvml, NvmlGpu from, NvmlGpu to) {
  const Peer write = AskPeer(nvml, from, to, PeerCapability::kWrite);
  if (write.access == v1::PEER_ACCESS_NOT_SUPPORTED) {
    return {write.access, absl::StrCat("write: ", write.reason)};
  }
  const Peer read = AskPeer(nvml, from, to, PeerCapability::kRead);
  if (read.access == v1::PEER_ACCESS_NOT_SUPPORTED) {
    return {read.access, absl::StrCat("read: ", read.reason)};
  }
  if (write.access == v1::PEER_ACCESS_SUPPORTED) return {write.access, ""};
  return {v1::PEER_ACCESS_UNKNOWN, absl::StrCat("write: ", write.reason)};
}

// Whether `remote`, the far end of a port, may be any GPU: virtual machines hide the PCI ids behind
// ones.
bool IsHidden(const std::string& remote) {
  return remote.empty() || remote.starts_with("FFFFFFFF");
}

void SetKind(const Ports& ports, const NvmlGpuFacts& to, v1::PeerAccess over_nvlink,
             v1::Link& link) {
  const auto direct = to.pci_bus_id.empty() ? ports.to_gpu.end() : ports.to_gpu.find(to.pci_bus_id);
  if (direct != ports.to_gpu.end()) {
    link.set_kind(v1::LINK_KIND_NVLINK);
    link.set_nvlink_count(direct->second);
    return;
  }
  if (over_nvlink == v1::PEER_ACCESS_NOT_SUPPORTED || (ports.all_answered && !ports.any_active())) {
    link.set_kind(v1::LINK_KIND_PCI);
    return;
  }
  if (over_nvlink == v1::PEER_ACCESS_SUPPORTED && ports.to_switch > 0) {
    link.set_kind(v1::LINK_KIND_NVSWITCH);
    link.set_nvlink_count(ports.to_switch);
    return;
  }
  const bool hidden_end = !ports.to_gpu.empty() && IsHidden(ports.to_gpu.begin()->first);
  const bool ends_known = ports.all_answered && ports.to_switch == 0 && ports.to_unknown == 0;
  if (over_nvlink == v1::PEER_ACCESS_SUPPORTED && ends_known && hidden_end) {
    link.set_kind(v1::LINK_KIND_NVLINK);  // how many of the ports lead to this peer is hidden
    return;
  }
  // Every port leads to some other GPU, and NVML does not claim a way round.
  if (over_nvlink != v1::PEER_ACCESS_SUPPORTED && ends_known && !hidden_end) {
    link.set_kind(v1::LINK_KIND_PCI);
    return;
  }
  link.set_kind(v1::LINK_KIND_UNKNOWN);
}

v1::Link ReadLink(Nvml& nvml, const Ports& ports, const NvmlGpuFacts& from,
                  const NvmlGpuFacts& to) {
  v1::Link link;
  link.set_from_uuid(from.uuid);
  link.set_to_uuid(to.uuid);
  const Peer peer = DecidePeer(nvml, from.gpu, to.gpu);
  link.set_peer_access(peer.access);
  link.set_peer_access_reason(peer.reason);
  SetKind(ports, to, AskPeer(nvml, from.gpu, to.gpu, PeerCapability::kNvlink).access, link);
  ReadCapabilities(nvml, from.gpu, to.gpu, link);
  const absl::StatusOr<v1::PciDistance> distance = nvml.CommonAncestor(from.gpu, to.gpu);
  link.set_pci_distance(distance.ok() ? *distance : v1::PCI_DISTANCE_UNKNOWN);
  return link;
}

}  // namespace

std::vector<v1::Link> ReadLinks(Nvml& nvml, const std::vector<NvmlGpuFacts>& gpus) {
  std::vector<v1::Link> links;
  for (size_t i = 0; i < gpus.size(); ++i) {
    const Ports ports = ReadPorts(nvml, gpus[i].gpu);
    for (size_t j = 0; j < gpus.size(); ++j) {
      if (i != j) links.push_back(ReadLink(nvml, ports, gpus[i], gpus[j]));
    }
  }
  return links;
}

}  // namespace nodecomm
