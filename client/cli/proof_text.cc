// Message in, text out; see proof_text.h.
// Design note: client/cli/README.md.
#include "client/cli/proof_text.h"

#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/cli/text_table.h"
#include "client/cli/topology_words.h"

namespace nodecomm {
namespace {

using ProofMap = std::map<UuidPair, const v1::PeerProof*>;

ProofMap ProofsOf(const v1::GetTopologyResponse& topology) {
  ProofMap proofs;
  for (const v1::PeerProof& proof : topology.proofs()) {
    proofs[{proof.from_uuid(), proof.to_uuid()}] = &proof;
  }
  return proofs;
}

template <typename Map>
auto Find(const Map& map, const v1::Gpu& from, const v1::Gpu& to) {
  const auto found = map.find({from.uuid(), to.uuid()});
  return found == map.end() ? nullptr : found->second;
}

std::string Gigabytes(double value) {
  return value > 0 ? absl::StrFormat("%.1f", value) : kNotAvailableSign;
}

std::string Microseconds(int64_t nanoseconds) {
  return nanoseconds > 0 ? absl::StrFormat("%.2f", static_cast<double>(nanoseconds) / 1000)
                         : kNotAvailableSign;
}

std::string When(int64_t unix_time_ms) {
  return unix_time_ms == 0
             ? kNotAvailableSign
             : absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixMillis(unix_time_ms),
                                absl::UTCTimeZone());
}

TextRow ProofRow(const std::string& from, const std::string& to, const v1::PeerProof* proof) {
  if (proof == nullptr) return {from, to, "unproven", "", "", "", "", "", "not tried"};
  return {from,
          to,
          VerdictWord(proof->verdict()),
          RenderBytes({proof->bytes_checked()}),
          Gigabytes(proof->write_gigabytes_per_second()),
          Gigabytes(proof->read_gigabytes_per_second()),
          Microseconds(proof->round_trip_ns()),
          When(proof->unix_time_ms()),
          RenderForeign(proof->reason())};
}

std::string Matrix(const v1::Host& host, const ProofMap& proofs,
                   const std::function<std::string(const v1::PeerProof&)>& cell) {
  TextRow head = {""};
  for (int i = 0; i < host.gpus_size(); ++i) head.push_back(GpuLabel(i));
  std::vector<TextRow> rows = {head};
  for (int i = 0; i < host.gpus_size(); ++i) {
    TextRow row = {GpuLabel(i)};
    for (int j = 0; j < host.gpus_size(); ++j) {
      const v1::PeerProof* proof = Find(proofs, host.gpus(i), host.gpus(j));
      row.push_back(i == j ? "X" : (proof == nullptr ? kNotAvailableSign : cell(*proof)));
    }
    rows.push_back(std::move(row));
  }
  return RenderTable(rows);
}

// --- one pair

std::string Gpu(const v1::GetTopologyResponse& topology, int index) {
  const v1::Gpu& gpu = topology.host().gpus(index);
  std::vector<TextRow> rows = {
      {"", "UUID", RenderForeign(gpu.uuid())},
      {"", "name", OrNotAvailable(gpu.name())},
      {"", "PCI bus", OrNotAvailable(gpu.pci_bus_id())},
      {"", "capability",
       gpu.compute_capability_major() == 0
           ? std::string(kUnknownSign)
           : absl::StrFormat("%d.%d", gpu.compute_capability_major(),
                             gpu.compute_capability_minor())},
      {"", "NUMA node", gpu.has_numa_node() ? absl::StrCat(gpu.numa_node()) : kNotAvailableSign},
      {"", "MIG", MigWord(gpu.mig_mode())},
      {"", "ECC", EccWord(gpu.ecc_mode())},
      {"", "fabric", FabricWord(gpu.fabric_state())},
  };
  if (gpu.has_fabric_clique()) {
    rows.push_back({"", "clique",
                    absl::StrFormat("%d of cluster %s", gpu.fabric_clique(),
                                    OrNotAvailable(gpu.fabric_cluster_uuid()))});
  }
  if (gpu.has_nvlink_errors()) {
    rows.push_back({"", "NVLink errors", absl::StrCat(gpu.nvlink_errors())});
  }
  if (const std::string word = ConditionWord(gpu, topology.drains()); !word.empty()) {
    rows.push_back({"", "condition", word});
  }
  return absl::StrCat(GpuLabel(index), "\n", RenderTable(rows));
}

void AddLink(const v1::Link* link, std::vector<TextRow>& rows) {
  rows.push_back({"", "link", LinkWord(link)});
  if (link == nullptr) return;
  rows.push_back({"", "PCIe distance", DistanceWord(link->pci_distance())});
  rows.push_back(
      {"", "peer access",
       absl::StrCat(AccessWord(link->peer_access()), link->peer_access_reason().empty() ? "" : ", ",
                    RenderForeign(link->peer_access_reason()))});
  for (const v1::PeerCapability& capability : link->capabilities()) {
    rows.push_back(
        {"", absl::StrCat("  ", RenderForeign(capability.name())),
         absl::StrCat(AccessWord(capability.access()), ", ", RenderForeign(capability.reason()))});
  }
}

void AddProof(const v1::PeerProof* proof, std::vector<TextRow>& rows) {
  if (proof == nullptr) {
    rows.push_back({"", "proof", "unproven: not tried"});
    return;
  }
  rows.push_back({"", "proof",
                  proof->reason().empty() ? VerdictWord(proof->verdict())
                                          : absl::StrCat(VerdictWord(proof->verdict()), ": ",
                                                         RenderForeign(proof->reason()))});
  rows.push_back({"", "  bytes checked", RenderBytes({proof->bytes_checked()})});
  rows.push_back({"", "  write GB/s", Gigabytes(proof->write_gigabytes_per_second())});
  rows.push_back({"", "  read GB/s", Gigabytes(proof->read_gigabytes_per_second())});
  rows.push_back({"", "  round trip us", Microseconds(proof->round_trip_ns())});
  rows.push_back({"", "  measured", When(proof->unix_time_ms())});
  rows.push_back({"", "CUDA access", AccessWord(proof->cuda_access())});
  rows.push_back({"", "CUDA atomics", AccessWord(proof->cuda_native_atomics())});
  if (proof->has_cuda_performance_rank()) {
    rows.push_back({"", "CUDA performance rank", absl::StrCat(proof->cuda_performance_rank())});
  }
}

std::string Direction(const v1::GetTopologyResponse& topology, int from, int to) {
  const v1::Host& host = topology.host();
  std::vector<TextRow> rows;
  AddLink(Find(LinksOf(host), host.gpus(from), host.gpus(to)), rows);
  AddProof(Find(ProofsOf(topology), host.gpus(from), host.gpus(to)), rows);
  return absl::StrCat(GpuLabel(from), " -> ", GpuLabel(to), "\n", RenderTable(rows));
}

std::string Verdict(const v1::GetTopologyResponse& topology, const v1::FastPath& fast_path) {
  std::string text =
      fast_path.supported()
          ? "Fast path: yes\n"
          : absl::StrCat("Fast path: no (", v1::FastPathReason_Name(fast_path.reason()), ")\n  ",
                         RenderForeign(fast_path.detail()), "\n");
  if (topology.driver_trusted()) {
    absl::StrAppend(&text, "The driver is trusted: proofs are not asked for.\n");
  }
  return text;
}

}  // namespace

std::string RenderProofs(const v1::GetTopologyResponse& topology) {
  const v1::Host& host = topology.host();
  const ProofMap proofs = ProofsOf(topology);
  std::vector<TextRow> rows = {{"From", "To", "Verdict", "Checked", "Write GB/s", "Read GB/s",
                                "Round trip us", "Measured", "Reason"}};
  for (int i = 0; i < host.gpus_size(); ++i) {
    for (int j = 0; j < host.gpus_size(); ++j) {
      if (i == j) continue;
      rows.push_back(ProofRow(GpuLabel(i), GpuLabel(j), Find(proofs, host.gpus(i), host.gpus(j))));
    }
  }
  std::string text = rows.size() == 1 ? "No pairs of GPUs.\n" : RenderTable(rows);
  if (topology.driver_trusted()) {
    absl::StrAppend(&text,
                    "\nThe driver is trusted (peer_access.trust_driver): groups do not wait "
                    "for these proofs.\n");
  }
  return text;
}

std::string RenderMeasurements(const v1::GetTopologyResponse& topology) {
  const ProofMap proofs = ProofsOf(topology);
  bool measured = false;
  for (const v1::PeerProof& proof : topology.proofs()) {
    measured |= proof.write_gigabytes_per_second() > 0;
  }
  if (!measured) return "";
  // Of a host without GPUs, where links of other speeds are named above.
  const char* where = topology.simulated() ? " in this host's memory, not on GPUs" : "";
  return absl::StrCat(
      "Measured", where, ", write GB/s (row to column):\n",
      Matrix(topology.host(), proofs,
             [](const v1::PeerProof& p) { return Gigabytes(p.write_gigabytes_per_second()); }),
      "\nMeasured", where, ", round trip us:\n",
      Matrix(topology.host(), proofs,
             [](const v1::PeerProof& p) { return Microseconds(p.round_trip_ns()); }));
}

std::string RenderPair(const v1::GetTopologyResponse& topology, int a, int b,
                       const v1::FastPath& fast_path) {
  return absl::StrCat(Gpu(topology, a), "\n", Gpu(topology, b), "\n", Direction(topology, a, b),
                      "\n", Direction(topology, b, a), "\n", Verdict(topology, fast_path));
}

}  // namespace nodecomm
