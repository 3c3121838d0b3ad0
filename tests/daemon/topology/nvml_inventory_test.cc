// What is concluded from NVML's answers, the missing ones included.
#include "daemon/topology/nvml_inventory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/daemon/topology/fake_nvml.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kNoSysfs[] = "/nonexistent";

v1::Host ReadOrDie(FakeNvmlHost& fake, const std::string& sysfs = kNoSysfs) {
  const auto inventory = MakeNvmlInventory(std::make_unique<FakeNvmlLoader>(&fake), sysfs);
  const absl::StatusOr<v1::Host> host = inventory->Read();
  EXPECT_OK(host);
  return host.value_or(v1::Host());
}

const v1::Link& LinkBetween(const v1::Host& host, size_t from, size_t to) {
  for (const v1::Link& link : host.links()) {
    if (link.from_uuid() == FakeUuid(from) && link.to_uuid() == FakeUuid(to)) return link;
  }
  ADD_FAILURE() << "no link from " << from << " to " << to;
  return v1::Link::default_instance();
}

FakePort DirectPort(size_t to) {
  return {.active = true, .remote = NvlinkRemote::kGpu, .remote_pci_bus_id = FakePciBusId(to)};
}

// A sysfs with one device.
class FakeSysfs {
 public:
  FakeSysfs(const std::string& device, const std::string& numa_node, const std::string& cpus)
      : root_(std::filesystem::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::create_directories(root_ / device);
    std::ofstream(root_ / device / "numa_node") << numa_node << "\n";
    std::ofstream(root_ / device / "local_cpulist") << cpus << "\n";
  }
  ~FakeSysfs() { std::filesystem::remove_all(root_); }
  std::string path() const { return root_; }

 private:
  const std::filesystem::path root_;
};

TEST(NvmlInventory, ReportsNvswitchInVirtualMachineWhereReadIsAnError) {
  FakeNvmlHost fake = FakeNvswitchVirtualMachine();
  const v1::Host host = ReadOrDie(fake);
  ASSERT_EQ(host.gpus_size(), 4);
  ASSERT_EQ(host.links_size(), 12);
  for (const v1::Link& link : host.links()) {
    EXPECT_EQ(link.kind(), v1::LINK_KIND_NVSWITCH);
    EXPECT_EQ(link.nvlink_count(), 18);
    EXPECT_EQ(link.peer_access(), v1::PEER_ACCESS_SUPPORTED);
    EXPECT_EQ(link.peer_access_reason(), "");
    EXPECT_EQ(link.pci_distance(), v1::PCI_DISTANCE_PHB);
  }
  EXPECT_EQ(host.driver_version(), "580.0");
  EXPECT_EQ(host.cuda_driver_version(), 13000);
  EXPECT_EQ(host.gpus(3).uuid(), FakeUuid(3));
  EXPECT_EQ(host.gpus(0).memory_bytes(), 80ULL << 30);
  EXPECT_EQ(host.gpus(0).compute_capability_major(), 9);
  EXPECT_EQ(host.gpus(0).fabric_state(), v1::FABRIC_STATE_COMPLETED);
  EXPECT_FALSE(host.gpus(0).has_numa_node());
}

TEST(NvmlInventory, CountsActivePortsOnly) {
  FakeNvmlHost fake = FakeNvswitchVirtualMachine();
  fake.gpus[0].ports[5].active = false;
  const v1::Host host = ReadOrDie(fake);
  EXPECT_EQ(LinkBetween(host, 0, 1).nvlink_count(), 17);
  EXPECT_EQ(LinkBetween(host, 1, 0).nvlink_count(), 18);
}

TEST(NvmlInventory, TakesSwitchLinksForNoLinkWhereNvlinkAccessIsRefused) {
  FakeNvmlHost fake = FakeNvswitchVirtualMachine();
  fake.peer = [](size_t, size_t, PeerCapability) { return PeerNo(); };
  const v1::Host host = ReadOrDie(fake);
  EXPECT_EQ(LinkBetween(host, 0, 1).kind(), v1::LINK_KIND_PCI);
  EXPECT_EQ(LinkBetween(host, 0, 1).peer_access(), v1::PEER_ACCESS_NOT_SUPPORTED);
  EXPECT_EQ(LinkBetween(host, 0, 1).peer_access_reason(),
            "write: NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED");
}

TEST(NvmlInventory, MatchesDirectLinksByPciBusId) {
  // 0 = 1 - 2: two links, one link, none.
  FakeNvmlHost fake = FakePciHost(3);
  fake.gpus[0].ports = {DirectPort(1), DirectPort(1)};
  fake.gpus[1].ports = {DirectPort(0), DirectPort(0), DirectPort(2)};
  fake.gpus[2].ports = {DirectPort(1)};
  fake.peer = [](size_t from, size_t to, PeerCapability capability) {
    const bool neighbours = from == 1 || to == 1;
    return capability == PeerCapability::kNvlink && !neighbours ? PeerNo() : PeerYes();
  };
  const v1::Host host = ReadOrDie(fake);
  EXPECT_EQ(LinkBetween(host, 0, 1).kind(), v1::LINK_KIND_NVLINK);
  EXPECT_EQ(LinkBetween(host, 0, 1).nvlink_count(), 2);
  EXPECT_EQ(LinkBetween(host, 1, 0).nvlink_count(), 2);
  EXPECT_EQ(LinkBetween(host, 1, 2).nvlink_count(), 1);
  EXPECT_EQ(LinkBetween(host, 0, 2).kind(), v1::LINK_KIND_PCI);
  EXPECT_EQ(LinkBetween(host, 0, 2).nvlink_count(), 0);
  EXPECT_EQ(LinkBetween(host, 0, 2).peer_access(), v1::PEER_ACCESS_SUPPORTED);
}

TEST(NvmlInventory, ReportsDirectLinksOfUnknownCountWherePciBusIdsAreHidden) {
  FakeNvmlHost fake = FakePciHost(2);
  fake.gpus[0].ports = {FakePort{.remote = NvlinkRemote::kGpu}};
  fake.peer = [](size_t, size_t, PeerCapability) { return PeerYes(); };
  const v1::Host host = ReadOrDie(fake);
  EXPECT_EQ(LinkBetween(host, 0, 1).kind(), v1::LINK_KIND_NVLINK);
  EXPECT_EQ(LinkBetween(host, 0, 1).nvlink_count(), 0);
}

TEST(NvmlInventory, ReportsGpusWithoutNvlinkAsPci) {
  FakeNvmlHost fake = FakePciHost(2);
  fake.distance = v1::PCI_DISTANCE_PIX;
  const v1::Host host = ReadOrDie(fake);
  EXPECT_EQ(LinkBetween(host, 0, 1).kind(), v1::LINK_KIND_PCI);
  EXPECT_EQ(LinkBetween(host, 0, 1).peer_access(), v1::PEER_ACCESS_SUPPORTED);
  EXPECT_EQ(LinkBetween(host, 0, 1).pci_distance(), v1::PCI_DISTANCE_PIX);
}

TEST(NvmlInventory, TakesDefiniteNoToReadForNo) {
  FakeNvmlHost fake = FakePciHost(2);
  fake.peer = [](size_t, size_t, PeerCapability capability) {
    return capability == PeerCapability::kWrite ? PeerYes() : PeerNo();
  };
  const v1::Host host = ReadOrDie(fake);
  EXPECT_EQ(LinkBetween(host, 0, 1).peer_access(), v1::PEER_ACCESS_NOT_SUPPORTED);
  EXPECT_EQ(LinkBetween(host, 0, 1).peer_access_reason(),
            "read: NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED");
}

TEST(NvmlInventory, LeavesUnknownWhatNvmlDoesNotAnswer) {
  FakeNvmlHost fake = FakePciHost(2);
  const absl::Status error = absl::UnavailableError("Unknown Error");
  fake.driver_version = error;
  fake.cuda_driver_version = error;
  fake.distance = error;
  fake.peer = [](size_t, size_t, PeerCapability) {
    return absl::UnavailableError("Unknown Error");
  };
  FakeGpu& gpu = fake.gpus[0];
  gpu.pci_bus_id = error;
  gpu.name = error;
  gpu.capability = error;
  gpu.memory = error;
  gpu.mig = error;
  gpu.fabric = error;
  gpu.ports = {FakePort{.active = error}};
  const v1::Host host = ReadOrDie(fake);
  ASSERT_EQ(host.gpus_size(), 2);
  EXPECT_EQ(host.gpus(0).uuid(), FakeUuid(0));
  EXPECT_EQ(host.gpus(0).name(), "");
  EXPECT_EQ(host.gpus(0).compute_capability_major(), 0);
  EXPECT_EQ(host.gpus(0).memory_bytes(), 0U);
  EXPECT_EQ(host.gpus(0).mig_mode(), v1::MIG_MODE_UNKNOWN);
  EXPECT_EQ(host.gpus(0).fabric_state(), v1::FABRIC_STATE_UNKNOWN);
  EXPECT_EQ(host.gpus(1).name(), "NVIDIA Fake");
  const v1::Link& link = LinkBetween(host, 0, 1);
  EXPECT_EQ(link.kind(), v1::LINK_KIND_UNKNOWN);
  EXPECT_EQ(link.peer_access(), v1::PEER_ACCESS_UNKNOWN);
  EXPECT_EQ(link.peer_access_reason(), "write: Unknown Error");
  EXPECT_EQ(link.pci_distance(), v1::PCI_DISTANCE_UNKNOWN);
}

TEST(NvmlInventory, LeavesKindUnknownWherePortsLeadNobodyKnowsWhere) {
  FakeNvmlHost fake = FakePciHost(2);
  fake.gpus[0].ports = {FakePort{.remote = absl::UnavailableError("Unknown Error")}};
  fake.peer = [](size_t, size_t, PeerCapability) { return PeerYes(); };
  const v1::Host host = ReadOrDie(fake);
  EXPECT_EQ(LinkBetween(host, 0, 1).kind(), v1::LINK_KIND_UNKNOWN);
  EXPECT_EQ(LinkBetween(host, 0, 1).nvlink_count(), 0);
}

TEST(NvmlInventory, TakesGpuThatDoesNotKnowMigForMigDisabled) {
  FakeNvmlHost fake = FakePciHost(1);
  fake.gpus[0].mig = absl::UnimplementedError("Not Supported");
  EXPECT_EQ(ReadOrDie(fake).gpus(0).mig_mode(), v1::MIG_MODE_DISABLED);
}

TEST(NvmlInventory, LeavesOutGpuThatHasFallenOffTheBus) {
  FakeNvmlHost fake = FakePciHost(3);
  fake.gpus[0].uuid = absl::UnavailableError("GPU is lost");
  fake.gpus[1].lost = absl::UnavailableError("GPU is lost");
  const v1::Host host = ReadOrDie(fake);
  ASSERT_EQ(host.gpus_size(), 1);
  EXPECT_EQ(host.gpus(0).uuid(), FakeUuid(2));
  EXPECT_EQ(host.links_size(), 0);
}

TEST(NvmlInventory, ReadsPlacementFromSysfs) {
  const FakeSysfs sysfs("0000:1b:00.0", "1", "0-3,8-11");
  FakeNvmlHost fake = FakePciHost(1);
  fake.gpus[0].pci_bus_id = std::string("00000000:1B:00.0");
  const v1::Host host = ReadOrDie(fake, sysfs.path());
  EXPECT_EQ(host.gpus(0).numa_node(), 1);
  EXPECT_EQ(host.gpus(0).cpu_affinity(), "0-3,8-11");
}

TEST(NvmlInventory, KeepsPciDomainOfMoreThanFourDigits) {
  const FakeSysfs sysfs("10000:1b:00.0", "0", "0");
  FakeNvmlHost fake = FakePciHost(1);
  fake.gpus[0].pci_bus_id = std::string("00010000:1B:00.0");
  EXPECT_TRUE(ReadOrDie(fake, sysfs.path()).gpus(0).has_numa_node());
}

TEST(NvmlInventory, LeavesNumaNodeOutWhereTheKernelSaysMinusOne) {
  const FakeSysfs sysfs("0000:1b:00.0", "-1", "0-3");
  FakeNvmlHost fake = FakePciHost(1);
  fake.gpus[0].pci_bus_id = std::string("00000000:1B:00.0");
  const v1::Host host = ReadOrDie(fake, sysfs.path());
  EXPECT_FALSE(host.gpus(0).has_numa_node());
  EXPECT_EQ(host.gpus(0).cpu_affinity(), "0-3");
}

TEST(NvmlInventory, ReadsEccAndTheFabricsClique) {
  FakeNvmlHost fake = FakeNvswitchVirtualMachine();
  fake.gpus[0].fabric =
      NvmlFabric{.state = v1::FABRIC_STATE_COMPLETED, .cluster_uuid = "00000000-aa", .clique = 7};
  fake.gpus[1].ecc = v1::ECC_MODE_DISABLED;
  fake.gpus[2].ecc = absl::UnimplementedError("no ECC");
  fake.gpus[3].ecc = absl::UnavailableError("Unknown Error");
  const v1::Host host = ReadOrDie(fake);
  EXPECT_EQ(host.gpus(0).fabric_cluster_uuid(), "00000000-aa");
  EXPECT_EQ(host.gpus(0).fabric_clique(), 7u);
  EXPECT_FALSE(host.gpus(1).has_fabric_clique());
  EXPECT_EQ(host.gpus(0).ecc_mode(), v1::ECC_MODE_ENABLED);
  EXPECT_EQ(host.gpus(1).ecc_mode(), v1::ECC_MODE_DISABLED);
  EXPECT_EQ(host.gpus(2).ecc_mode(), v1::ECC_MODE_NOT_SUPPORTED);
  EXPECT_EQ(host.gpus(3).ecc_mode(), v1::ECC_MODE_UNKNOWN);
}

TEST(NvmlInventory, AddsUpTheErrorsOfPortsThatCount) {
  FakeNvmlHost fake = FakeNvswitchVirtualMachine();
  fake.gpus[0].ports[0].errors = uint64_t{3};
  fake.gpus[0].ports[2].errors = uint64_t{4};
  fake.gpus[0].ports[3].errors = uint64_t{100};
  fake.gpus[0].ports[3].active = false;
  fake.gpus[1].ports[0].errors = uint64_t{0};
  const v1::Host host = ReadOrDie(fake);
  EXPECT_EQ(host.gpus(0).nvlink_errors(), 7u);
  EXPECT_TRUE(host.gpus(1).has_nvlink_errors());
  EXPECT_EQ(host.gpus(1).nvlink_errors(), 0u);
  EXPECT_FALSE(host.gpus(2).has_nvlink_errors());
}

TEST(NvmlInventory, KeepsEveryCapabilityInNvmlsWords) {
  FakeNvmlHost fake = FakeNvswitchVirtualMachine();
  const v1::Host host = ReadOrDie(fake);
  const v1::Link& link = LinkBetween(host, 0, 1);
  ASSERT_EQ(link.capabilities_size(), 5);
  EXPECT_EQ(link.capabilities(0).name(), "read");
  EXPECT_EQ(link.capabilities(0).access(), v1::PEER_ACCESS_UNKNOWN);
  EXPECT_EQ(link.capabilities(0).reason(), "Unknown Error");
  EXPECT_EQ(link.capabilities(1).name(), "write");
  EXPECT_EQ(link.capabilities(1).access(), v1::PEER_ACCESS_SUPPORTED);
  EXPECT_EQ(link.capabilities(1).reason(), "NVML_P2P_STATUS_OK");
}

TEST(NvmlInventory, CallsLostWhatNvmlCallsLost) {
  FakeNvmlHost fake = FakeNvswitchVirtualMachine();
  fake.gpus[2].memory = absl::DataLossError("nvmlDeviceGetMemoryInfo: GPU is lost");
  fake.gpus[3].memory = absl::UnavailableError("Unknown Error");
  const v1::Host host = ReadOrDie(fake);
  ASSERT_EQ(host.gpus_size(), 4);
  EXPECT_EQ(host.gpus(2).condition(), v1::GPU_CONDITION_LOST);
  EXPECT_THAT(host.gpus(2).condition_reason(), HasSubstr("GPU is lost"));
  EXPECT_EQ(host.gpus(3).condition(), v1::GPU_CONDITION_UNSPECIFIED);
}

TEST(NvmlInventory, EndsItsSessionWithTheRead) {
  FakeNvmlHost fake = FakeNvswitchVirtualMachine();
  ReadOrDie(fake);
  EXPECT_EQ(fake.sessions_open, 0);
}

TEST(NvmlInventory, SeesTheHostAsItIsAtEachRead) {
  FakeNvmlHost fake = FakePciHost(1);
  const auto inventory = MakeNvmlInventory(std::make_unique<FakeNvmlLoader>(&fake), kNoSysfs);
  ASSERT_OK(inventory->Read());
  fake.gpus[0].mig = v1::MIG_MODE_ENABLED;
  const absl::StatusOr<v1::Host> host = inventory->Read();
  ASSERT_OK(host);
  EXPECT_EQ(host->gpus(0).mig_mode(), v1::MIG_MODE_ENABLED);
}

TEST(NvmlInventory, FailsWhereTheDriverDoesNotAnswer) {
  FakeNvmlHost fake;
  fake.driver = absl::UnavailableError("nvmlInit: Driver/library version mismatch");
  const auto inventory = MakeNvmlInventory(std::make_unique<FakeNvmlLoader>(&fake), kNoSysfs);
  EXPECT_THAT(inventory->Read(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("version mismatch")));
}

TEST(LoadNvml, SaysWhereThereIsNoLibrary) {
  EXPECT_THAT(LoadNvml("libno-such-nvml.so.1").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("libno-such-nvml.so.1")));
}

TEST(LoadNvml, RefusesLibraryThatIsNoNvml) {
  EXPECT_THAT(LoadNvml("libm.so.6").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no NVML")));
}

}  // namespace
}  // namespace nodecomm
