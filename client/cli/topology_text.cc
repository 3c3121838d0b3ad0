// Message in, text out; see topology_text.h.
// Not a judgement: whether a group may use these links is the daemon's to say.
// Design note: client/cli/README.md.
#include "client/cli/topology_text.h"

#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/proof_text.h"
#include "client/cli/text_table.h"
#include "client/cli/topology_words.h"

namespace nodecomm {
namespace {

using LinkMap = std::map<UuidPair, const v1::Link*>;
using MarkMap = std::map<UuidPair, char>;

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
constexpr char kMarkLegend[] = R"(  ...!  peer access was tried and is broken
  ...~  peer access is not proven
)";

std::string Headline(const v1::GetTopologyResponse& topology) {
  const v1::Host& host = topology.host();
  const int cuda = host.cuda_driver_version();
  return absl::StrFormat(
      "Host %s%s, driver %s, CUDA %s\n", OrNotAvailable(host.hostname()),
      topology.simulated() ? " (simulated)" : "", OrNotAvailable(host.driver_version()),
      cuda == 0 ? kNotAvailableSign : absl::StrFormat("%d.%d", cuda / 1000, cuda % 1000 / 10));
}

// What a pair's proof adds to its cell. None while nothing has been tried.
MarkMap MarksOf(const v1::GetTopologyResponse& topology) {
  MarkMap marks;
  for (const v1::PeerProof& proof : topology.proofs()) {
    if (proof.verdict() == v1::PROOF_VERDICT_PROVEN) continue;
    marks[{proof.from_uuid(), proof.to_uuid()}] =
        proof.verdict() == v1::PROOF_VERDICT_FAILED ? '!' : '~';
  }
  return marks;
}

std::string Matrix(const v1::Host& host, const LinkMap& links, const MarkMap& marks) {
  TextRow head = {""};
  for (int i = 0; i < host.gpus_size(); ++i) head.push_back(GpuLabel(i));
  head.insert(head.end(), {"CPU Affinity", "NUMA Affinity"});
  std::vector<TextRow> rows = {head};
  for (int i = 0; i < host.gpus_size(); ++i) {
    const v1::Gpu& gpu = host.gpus(i);
    TextRow row = {GpuLabel(i)};
    for (int j = 0; j < host.gpus_size(); ++j) {
      const UuidPair pair = {gpu.uuid(), host.gpus(j).uuid()};
      const auto link = links.find(pair);
      const auto mark = marks.find(pair);
      std::string sign = i == j ? " X" : LinkSign(link == links.end() ? nullptr : link->second);
      if (mark != marks.end()) sign += mark->second;
      row.push_back(std::move(sign));
    }
    row.push_back(OrNotAvailable(gpu.cpu_affinity()));
    row.push_back(gpu.has_numa_node() ? absl::StrCat(gpu.numa_node()) : kNotAvailableSign);
    rows.push_back(std::move(row));
  }
  return RenderTable(rows);
}

// A column that is shown where some GPU of the host has something to say in it.
struct OptionalColumn {
  const char* head;
  std::function<std::string(const v1::Gpu&)> cell;  // empty: nothing to say
};

// `drains` outlives them.
std::vector<OptionalColumn> OptionalColumns(const Drains& drains) {
  return {{"ECC",
           [](const v1::Gpu& gpu) {
             return gpu.ecc_mode() == v1::ECC_MODE_UNSPECIFIED ? "" : EccWord(gpu.ecc_mode());
           }},
          {"Clique",
           [](const v1::Gpu& gpu) {
             return gpu.has_fabric_clique() ? absl::StrCat(gpu.fabric_clique()) : "";
           }},
          {"Condition", [&drains](const v1::Gpu& gpu) { return ConditionWord(gpu, drains); }}};
}

std::string GpuList(const v1::GetTopologyResponse& topology) {
  const v1::Host& host = topology.host();
  std::vector<TextRow> rows = {
      {"", "UUID", "Name", "PCI Bus", "Memory", "Capability", "MIG", "Fabric"}};
  for (int i = 0; i < host.gpus_size(); ++i) {
    const v1::Gpu& gpu = host.gpus(i);
    const bool has_capability = gpu.compute_capability_major() > 0;
    rows.push_back({GpuLabel(i), RenderForeign(gpu.uuid()), OrNotAvailable(gpu.name()),
                    OrNotAvailable(gpu.pci_bus_id()),
                    gpu.memory_bytes() == 0 ? kUnknownSign : RenderBytes({gpu.memory_bytes()}),
                    has_capability ? absl::StrFormat("%d.%d", gpu.compute_capability_major(),
                                                     gpu.compute_capability_minor())
                                   : kUnknownSign,
                    MigWord(gpu.mig_mode()), FabricWord(gpu.fabric_state())});
  }
  for (const OptionalColumn& column : OptionalColumns(topology.drains())) {
    std::vector<std::string> cells;
    bool any = false;
    for (const v1::Gpu& gpu : host.gpus()) {
      cells.push_back(column.cell(gpu));
      any |= !cells.back().empty();
    }
    if (!any) continue;
    rows[0].push_back(column.head);
    for (size_t i = 0; i < cells.size(); ++i) rows[i + 1].push_back(cells[i]);
  }
  std::string text = RenderTable(rows);
  for (const v1::GpuDrain& drain : topology.drains()) {
    if (drain.state() != v1::DRAIN_STATE_GONE) continue;
    absl::StrAppend(&text, GoneGpu(drain.gpu_uuid()), "\n");
  }
  return text;
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
      rows.push_back({"", absl::StrCat(GpuLabel(i), " -> ", GpuLabel(j)),
                      AccessWord(link.peer_access()), RenderForeign(link.peer_access_reason())});
    }
  }
  return rows.empty() ? "" : absl::StrCat("\nPeer access:\n", RenderTable(rows));
}

}  // namespace

std::string RenderTopology(const v1::GetTopologyResponse& topology) {
  const v1::Host& host = topology.host();
  if (host.gpus().empty()) return absl::StrCat(Headline(topology), "\nNo GPUs.\n");
  const LinkMap links = LinksOf(host);
  const MarkMap marks = MarksOf(topology);
  std::string text = absl::StrCat(Headline(topology), "\n", Matrix(host, links, marks), "\n",
                                  GpuList(topology), PeerAccessGaps(host, links));
  if (const std::string measured = RenderMeasurements(topology); !measured.empty()) {
    absl::StrAppend(&text, "\n", measured);
  }
  absl::StrAppend(&text, "\n", kLegend, marks.empty() ? "" : kMarkLegend);
  return text;
}

}  // namespace nodecomm
