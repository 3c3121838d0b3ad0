// What daemon/topology/inventory.h promises, asked of every implementation.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "daemon/topology/inventory.h"
#include "daemon/topology/nvml_inventory.h"
#include "tests/daemon/topology/fake_nvml.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

struct Implementation {
  std::string name;
  std::function<absl::StatusOr<std::unique_ptr<Inventory>>()> create;
  std::string source;
};

std::string TopologyFile(const std::string& name) {
  return std::string(NODECOMM_TOPOLOGY_DIR) + "/" + name + ".textproto";
}

Implementation File(std::string name, const std::string& file) {
  const std::string path = TopologyFile(file);
  return {std::move(name), [path] { return CreateFileInventory(path); }, path};
}

Implementation Nvml(std::string name, FakeNvmlHost host) {
  auto shared = std::make_shared<FakeNvmlHost>(std::move(host));
  return {std::move(name),
          [shared] {
            return MakeNvmlInventory(std::make_unique<FakeNvmlLoader>(shared.get()),
                                     "/nonexistent");
          },
          "nvml"};
}

class InventoryConformance : public testing::TestWithParam<Implementation> {};

TEST_P(InventoryConformance, NamesItsSource) {
  const auto inventory = GetParam().create();
  ASSERT_OK(inventory);
  EXPECT_EQ((*inventory)->Source(), GetParam().source);
}

TEST_P(InventoryConformance, HasEveryGpuOnceAndEveryOrderedPairOnce) {
  const auto inventory = GetParam().create();
  ASSERT_OK(inventory);
  const absl::StatusOr<v1::Host> host = (*inventory)->Read();
  ASSERT_OK(host);
  std::set<std::string> uuids;
  for (const v1::Gpu& gpu : host->gpus()) EXPECT_TRUE(uuids.insert(gpu.uuid()).second);
  std::set<std::pair<std::string, std::string>> pairs;
  for (const v1::Link& link : host->links()) {
    EXPECT_TRUE(uuids.contains(link.from_uuid()) && uuids.contains(link.to_uuid()));
    EXPECT_NE(link.from_uuid(), link.to_uuid());
    EXPECT_TRUE(pairs.emplace(link.from_uuid(), link.to_uuid()).second);
  }
  ASSERT_GT(uuids.size(), 0U);
  EXPECT_EQ(pairs.size(), uuids.size() * (uuids.size() - 1));
}

TEST_P(InventoryConformance, SaysUnknownRatherThanNothing) {
  const auto inventory = GetParam().create();
  ASSERT_OK(inventory);
  const absl::StatusOr<v1::Host> host = (*inventory)->Read();
  ASSERT_OK(host);
  for (const v1::Gpu& gpu : host->gpus()) {
    EXPECT_NE(gpu.mig_mode(), v1::MIG_MODE_UNSPECIFIED);
    EXPECT_NE(gpu.fabric_state(), v1::FABRIC_STATE_UNSPECIFIED);
  }
  for (const v1::Link& link : host->links()) {
    EXPECT_NE(link.kind(), v1::LINK_KIND_UNSPECIFIED);
    EXPECT_NE(link.peer_access(), v1::PEER_ACCESS_UNSPECIFIED);
    EXPECT_NE(link.pci_distance(), v1::PCI_DISTANCE_UNSPECIFIED);
  }
}

TEST_P(InventoryConformance, ReadsTheSameHostTwice) {
  const auto inventory = GetParam().create();
  ASSERT_OK(inventory);
  const absl::StatusOr<v1::Host> first = (*inventory)->Read();
  const absl::StatusOr<v1::Host> second = (*inventory)->Read();
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_EQ(first->SerializeAsString(), second->SerializeAsString());
}

INSTANTIATE_TEST_SUITE_P(
    , InventoryConformance,
    testing::Values(File("FileHgxH100x4", "hgx-h100-x4"), File("FileHgxH100x8", "hgx-h100-x8"),
                    File("FileRtx4090x2", "rtx-4090-x2"), File("FileL4x1", "l4-x1"),
                    File("FileHgxH200x2Vm", "hgx-h200-x2-vm"),
                    Nvml("NvmlVirtualMachine", FakeNvswitchVirtualMachine()),
                    Nvml("NvmlPci", FakePciHost(2)), Nvml("NvmlSingle", FakePciHost(1))),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nodecomm
