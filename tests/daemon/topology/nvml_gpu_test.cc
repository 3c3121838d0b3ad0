// The real NVML of a host with GPUs: that our declarations fit its ABI, and that a read leaves
// nothing open. Prints the topology, so that a run on a new machine leaves a file for
// tests/topologies.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <system_error>

#include "daemon/topology/inventory.h"
#include "daemon/topology/nvml.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

bool GpuIsRequired() {
  const char* const value = std::getenv("NODECOMM_REQUIRE_GPU");
  return value != nullptr && std::string(value) == "1";
}

// The number of GPU device files (/dev/nvidia0, ...) that this process holds open.
int OpenGpuFiles() {
  int count = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const std::string target = std::filesystem::read_symlink(entry.path(), ignored);
    constexpr char kPrefix[] = "/dev/nvidia";
    constexpr size_t kLength = sizeof(kPrefix) - 1;
    if (target.starts_with(kPrefix) && target.size() > kLength && target[kLength] >= '0' &&
        target[kLength] <= '9') {
      ++count;
    }
  }
  return count;
}

TEST(NvmlGpu, DescribesThisHost) {
  const auto inventory = CreateNvmlInventory();
  if (!inventory.ok() && !GpuIsRequired()) GTEST_SKIP() << inventory.status();
  ASSERT_OK(inventory);
  const absl::StatusOr<v1::Host> host = (*inventory)->Read();
  ASSERT_OK(host);
  std::string text;
  google::protobuf::TextFormat::PrintToString(*host, &text);
  std::cout << text;

  EXPECT_FALSE(host->hostname().empty());
  EXPECT_FALSE(host->driver_version().empty());
  EXPECT_GE(host->cuda_driver_version(), 12000);
  ASSERT_GT(host->gpus_size(), 0);
  for (const v1::Gpu& gpu : host->gpus()) {
    EXPECT_TRUE(gpu.uuid().starts_with("GPU-")) << gpu.uuid();
    EXPECT_EQ(gpu.uuid().size(), 40U);
    EXPECT_EQ(gpu.pci_bus_id().size(), 16U) << gpu.pci_bus_id();
    EXPECT_FALSE(gpu.name().empty());
    EXPECT_GE(gpu.compute_capability_major(), 5);
    EXPECT_LE(gpu.compute_capability_major(), 20);
    EXPECT_GT(gpu.memory_bytes(), 1ULL << 30);
    EXPECT_FALSE(gpu.cpu_affinity().empty());
    EXPECT_NE(gpu.mig_mode(), v1::MIG_MODE_UNKNOWN);
    EXPECT_NE(gpu.fabric_state(), v1::FABRIC_STATE_UNKNOWN);
  }
  EXPECT_EQ(host->links_size(), host->gpus_size() * (host->gpus_size() - 1));
  for (const v1::Link& link : host->links()) {
    EXPECT_NE(link.kind(), v1::LINK_KIND_UNKNOWN);
    EXPECT_NE(link.pci_distance(), v1::PCI_DISTANCE_UNKNOWN);
  }
}

// Without this, the next test would prove nothing.
TEST(NvmlGpu, HoldsGpuFilesOpenDuringItsSession) {
  const auto loader = LoadNvml("libnvidia-ml.so.1");
  if (!loader.ok() && !GpuIsRequired()) GTEST_SKIP() << loader.status();
  ASSERT_OK(loader);
  const auto nvml = (*loader)->Open();
  ASSERT_OK(nvml);
  ASSERT_OK((*nvml)->Gpu(NvmlIndex{0}));
  EXPECT_GT(OpenGpuFiles(), 0);
}

TEST(NvmlGpu, LeavesNoGpuFileOpen) {
  const auto inventory = CreateNvmlInventory();
  if (!inventory.ok() && !GpuIsRequired()) GTEST_SKIP() << inventory.status();
  ASSERT_OK(inventory);
  ASSERT_OK((*inventory)->Read());
  EXPECT_EQ(OpenGpuFiles(), 0);
}

}  // namespace
}  // namespace nodecomm
