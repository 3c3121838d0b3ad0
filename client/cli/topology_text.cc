// Message in, text out; see topology_text.h.
// Not a judgement: whether a group may use these links is the daemon's to say.
// Design note: client/cli/README.md.
#include "client/cli/topology_text.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/text_table.h"

namespace nodecomm {
namespace {

using LinkMap = std::map<std::pair<std::string, std::string>, const v1::Link*>;

constexpr char kUnknown[] = "?";
constexpr char kNotAvailable[] = "N/A";

constexpr char kLegend[] = R"(Legend:
  X     the GPU itself
  NV#   joined by # NVLinks, directly or through NVSwitch
  PIX   over PCIe, through one PCIe switch
  PXB   over PCIe, through several PCIe switches
  PHB   over PCIe, through a PCIe host bridge (a CPU)
  NODE  over PCIe, between host bridges of one NUMA node
  SYS   over PCIe and the link between NUMA nodes
  ?     not known
)";

std::string GpuName(int index) { return absl::StrCat("GPU", index); }

std::string OrNotAvailable(const std::string& text) {
  return text.empty() ? std::string(kNotAvailable) : text;
}

std::string Headline(const v1::GetTopologyResponse& topology) {
  const v1::Host& host = topology.host();
  const int cuda = host.cuda_driver_version();
  return absl::StrFormat(
      "Host %s%s, driver %s, CUDA %s\n", OrNotAvailable(host.hostname()),
      topology.simulated() ? " (simulated)" : "", OrNotAvailable(host.driver_version()),
      cuda == 0 ? kNotAvailable : absl::StrFormat("%d.%d", cuda / 1000, cuda % 1000 / 10));
}

std::string PciDistanceWord(v1::PciDistance distance) {
  switch (distance) {
    case v1::PCI_DISTANCE_PIX:
      return "PIX";
    case v1::PCI_DISTANCE_PXB:
      return "PXB";
    case v1::PCI_DISTANCE_PHB:
      return "PHB";
    case v1::PCI_DISTANCE_NODE:
      return "NODE";
    case v1::PCI_DISTANCE_SYS:
      return "SYS";
    default:
      return kUnknown;
  }
}

std::string Cell(const v1::Link* link) {
  if (link == nullptr) return kUnknown;
  switch (link->kind()) {
    case v1::LINK_KIND_NVLINK:
    case v1::LINK_KIND_NVSWITCH:
      return link->nvlink_count() > 0 ? absl::StrCat("NV", link->nvlink_count()) : "NV?";
    case v1::LINK_KIND_PCI:
      return PciDistanceWord(link->pci_distance());
    default:
      return kUnknown;
  }
}

std::string Matrix(const v1::Host& host, const LinkMap& links) {
  TextRow head = {""};
  for (int i = 0; i < host.gpus_size(); ++i) head.push_back(GpuName(i));
  head.insert(head.end(), {"CPU Affinity", "NUMA Affinity"});
  std::vector<TextRow> rows = {head};
  for (int i = 0; i < host.gpus_size(); ++i) {
    const v1::Gpu& gpu = host.gpus(i);
    TextRow row = {GpuName(i)};
    for (int j = 0; j < host.gpus_size(); ++j) {
      const auto link = links.find({gpu.uuid(), host.gpus(j).uuid()});
      row.push_back(i == j ? " X" : Cell(link == links.end() ? nullptr : link->second));
    }
    row.push_back(OrNotAvailable(gpu.cpu_affinity()));
    row.push_back(gpu.has_numa_node() ? absl::StrCat(gpu.numa_node()) : kNotAvailable);
    rows.push_back(std::move(row));
  }
  return RenderTable(rows);
}

std::string MigWord(v1::MigMode mode) {
  if (mode == v1::MIG_MODE_ENABLED) return "on";
  return mode == v1::MIG_MODE_DISABLED ? "off" : kUnknown;
}

std::string FabricWord(v1::FabricState state) {
  switch (state) {
    case v1::FABRIC_STATE_NOT_SUPPORTED:
      return "none";
    case v1::FABRIC_STATE_NOT_STARTED:
      return "not started";
    case v1::FABRIC_STATE_IN_PROGRESS:
      return "in progress";
    case v1::FABRIC_STATE_COMPLETED:
      return "completed";
    default:
      return kUnknown;
  }
}

std::string GpuList(const v1::Host& host) {
  std::vector<TextRow> rows = {
      {"", "UUID", "Name", "PCI Bus", "Memory", "Capability", "MIG", "Fabric"}};
  for (int i = 0; i < host.gpus_size(); ++i) {
    const v1::Gpu& gpu = host.gpus(i);
    const bool has_capability = gpu.compute_capability_major() > 0;
    rows.push_back({GpuName(i), gpu.uuid(), OrNotAvailable(gpu.name()),
                    OrNotAvailable(gpu.pci_bus_id()),
                    gpu.memory_bytes() == 0 ? kUnknown : RenderBytes({gpu.memory_bytes()}),
                    has_capability ? absl::StrFormat("%d.%d", gpu.compute_capability_major(),
                                                     gpu.compute_capability_minor())
                                   : kUnknown,
                    MigWord(gpu.mig_mode()), FabricWord(gpu.fabric_state())});
  }
  return RenderTable(rows);
}

// The pairs without peer access; empty if every pair has it.
std::string PeerAccessGaps(const v1::Host& host, const LinkMap& links) {
  std::vector<TextRow> rows;
  for (int i = 0; i < host.gpus_size(); ++i) {
    for (int j = 0; j < host.gpus_size(); ++j) {
      const auto found = links.find({host.gpus(i).uuid(), host.gpus(j).uuid()});
      if (i == j || found == links.end()) continue;
      const v1::Link& link = *found->second;
      if (link.peer_access() == v1::PEER_ACCESS_SUPPORTED) continue;
      const bool is_no = link.peer_access() == v1::PEER_ACCESS_NOT_SUPPORTED;
      rows.push_back({"", absl::StrCat(GpuName(i), " -> ", GpuName(j)),
                      is_no ? "not supported" : "unknown", link.peer_access_reason()});
    }
  }
  return rows.empty() ? "" : absl::StrCat("\nPeer access:\n", RenderTable(rows));
}

}  // namespace

std::string RenderTopology(const v1::GetTopologyResponse& topology) {
  const v1::Host& host = topology.host();
  if (host.gpus().empty()) return absl::StrCat(Headline(topology), "\nNo GPUs.\n");
  LinkMap links;
  for (const v1::Link& link : host.links()) links[{link.from_uuid(), link.to_uuid()}] = &link;
  return absl::StrCat(Headline(topology), "\n", Matrix(host, links), "\n", GpuList(host),
                      PeerAccessGaps(host, links), "\n", kLegend);
}

}  // namespace nodecomm
