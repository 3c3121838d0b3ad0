// The matrix, to the letter.
#include "client/cli/topology_text.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "daemon/topology/inventory.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

constexpr char kLegend[] = R"(
Legend:
  X     the GPU itself
  NV#   joined by # NVLinks, directly or through NVSwitch
  PIX   over PCIe, through one PCIe switch
  PXB   over PCIe, through several PCIe switches
  PHB   over PCIe, through a PCIe host bridge (a CPU)
  NODE  over PCIe, between host bridges of one NUMA node
  SYS   over PCIe and the link between NUMA nodes
  ?     not known
)";

v1::GetTopologyResponse Shipped(const std::string& name) {
  const auto inventory =
      CreateFileInventory(absl::StrCat(NODECOMM_TOPOLOGY_DIR, "/", name, ".textproto"));
  EXPECT_OK(inventory);
  v1::GetTopologyResponse topology;
  if (inventory.ok()) *topology.mutable_host() = (*inventory)->Read().value_or(v1::Host());
  topology.set_simulated(true);
  return topology;
}

TEST(RenderTopology, ShowsNvswitchHost) {
  EXPECT_EQ(RenderTopology(Shipped("hgx-h100-x4")),
            absl::StrCat(R"(Host simulated-hgx-h100-x4 (simulated), driver 580.95.05, CUDA 13.0

      GPU0  GPU1  GPU2  GPU3  CPU Affinity  NUMA Affinity
GPU0   X    NV18  NV18  NV18  0-55,112-167  0
GPU1  NV18   X    NV18  NV18  0-55,112-167  0
GPU2  NV18  NV18   X    NV18  0-55,112-167  0
GPU3  NV18  NV18  NV18   X    0-55,112-167  0

      UUID                                      Name                   PCI Bus           Memory    Capability  MIG  Fabric
GPU0  GPU-51000000-0000-4000-8000-000000000000  NVIDIA H100 80GB HBM3  00000000:1b:00.0  79.6 GiB  9.0         off  completed
GPU1  GPU-51000000-0000-4000-8000-000000000001  NVIDIA H100 80GB HBM3  00000000:43:00.0  79.6 GiB  9.0         off  completed
GPU2  GPU-51000000-0000-4000-8000-000000000002  NVIDIA H100 80GB HBM3  00000000:52:00.0  79.6 GiB  9.0         off  completed
GPU3  GPU-51000000-0000-4000-8000-000000000003  NVIDIA H100 80GB HBM3  00000000:61:00.0  79.6 GiB  9.0         off  completed
)",
                         kLegend));
}

TEST(RenderTopology, ShowsPairsWithoutPeerAccess) {
  EXPECT_EQ(RenderTopology(Shipped("rtx-4090-x2")),
            absl::StrCat(R"(Host simulated-rtx-4090-x2 (simulated), driver 580.95.05, CUDA 13.0

      GPU0  GPU1  CPU Affinity  NUMA Affinity
GPU0   X    NODE  0-31          0
GPU1  NODE   X    0-31          0

      UUID                                      Name                     PCI Bus           Memory  Capability  MIG  Fabric
GPU0  GPU-40900000-0000-4000-8000-000000000000  NVIDIA GeForce RTX 4090  00000000:01:00.0  24 GiB  8.9         off  none
GPU1  GPU-40900000-0000-4000-8000-000000000001  NVIDIA GeForce RTX 4090  00000000:c1:00.0  24 GiB  8.9         off  none

Peer access:
  GPU0 -> GPU1  not supported  write: NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED
  GPU1 -> GPU0  not supported  write: NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED
)",
                         kLegend));
}

TEST(RenderTopology, ShowsWhatIsNotKnown) {
  v1::GetTopologyResponse topology;
  v1::Host& host = *topology.mutable_host();
  for (const char* uuid : {"GPU-a", "GPU-b", "GPU-c"}) host.add_gpus()->set_uuid(uuid);
  const auto add_link = [&host](const char* from, const char* to) -> v1::Link& {
    v1::Link& link = *host.add_links();
    link.set_from_uuid(from);
    link.set_to_uuid(to);
    return link;
  };
  v1::Link& uncounted = add_link("GPU-a", "GPU-b");
  uncounted.set_kind(v1::LINK_KIND_NVLINK);
  uncounted.set_peer_access(v1::PEER_ACCESS_UNKNOWN);
  uncounted.set_peer_access_reason("write: Unknown Error");
  v1::Link& unknown = add_link("GPU-a", "GPU-c");
  unknown.set_kind(v1::LINK_KIND_UNKNOWN);
  unknown.set_pci_distance(v1::PCI_DISTANCE_SYS);
  unknown.set_peer_access(v1::PEER_ACCESS_SUPPORTED);
  v1::Link& far = add_link("GPU-b", "GPU-a");
  far.set_kind(v1::LINK_KIND_PCI);
  far.set_pci_distance(v1::PCI_DISTANCE_UNKNOWN);
  far.set_peer_access(v1::PEER_ACCESS_SUPPORTED);
  EXPECT_EQ(RenderTopology(topology), absl::StrCat(R"(Host N/A, driver N/A, CUDA N/A

      GPU0  GPU1  GPU2  CPU Affinity  NUMA Affinity
GPU0   X    NV?   ?     N/A           N/A
GPU1  ?      X    ?     N/A           N/A
GPU2  ?     ?      X    N/A           N/A

      UUID   Name  PCI Bus  Memory  Capability  MIG  Fabric
GPU0  GPU-a  N/A   N/A      ?       ?           ?    ?
GPU1  GPU-b  N/A   N/A      ?       ?           ?    ?
GPU2  GPU-c  N/A   N/A      ?       ?           ?    ?

Peer access:
  GPU0 -> GPU1  unknown  write: Unknown Error
)",
                                                   kLegend));
}

TEST(RenderTopology, ShowsEveryPciDistance) {
  v1::GetTopologyResponse topology = Shipped("rtx-4090-x2");
  const std::pair<v1::PciDistance, const char*> words[] = {
      {v1::PCI_DISTANCE_PIX, "PIX"}, {v1::PCI_DISTANCE_PXB, "PXB"},
      {v1::PCI_DISTANCE_PHB, "PHB"}, {v1::PCI_DISTANCE_NODE, "NODE"},
      {v1::PCI_DISTANCE_SYS, "SYS"}, {v1::PCI_DISTANCE_UNKNOWN, "?"},
  };
  for (const auto& [distance, word] : words) {
    topology.mutable_host()->mutable_links(0)->set_pci_distance(distance);
    EXPECT_THAT(RenderTopology(topology),
                testing::ContainsRegex(absl::StrCat("\nGPU0   X    *[", word, "]+ ")));
  }
}

TEST(RenderTopology, SaysThatThereAreNoGpus) {
  EXPECT_EQ(RenderTopology(v1::GetTopologyResponse()),
            "Host N/A, driver N/A, CUDA N/A\n\nNo GPUs.\n");
}

}  // namespace
}  // namespace nodecomm
