// The allocator program on this host's GPUs. Found beside the daemon: ../bin/nodecomm-allocator, or
// where NODECOMM_ALLOCATOR says.

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>

#include "daemon/allocator/cuda_driver.h"
#include "daemon/memory/allocator_child.h"
#include "daemon/memory/allocator_plane_source.h"
#include "tests/daemon/memory/plane_source_conformance.h"

namespace nodecomm {
namespace {

std::string AllocatorProgram() {
  if (const char* named = getenv("NODECOMM_ALLOCATOR")) return named;
  std::array<char, 4096> self = {};
  if (readlink("/proc/self/exe", self.data(), self.size() - 1) < 0) return "";
  const std::string path = self.data();
  return path.substr(0, path.rfind('/')) + "/../bin/nodecomm-allocator";
}

// The GPUs as the driver names them, found without a context.
const absl::StatusOr<std::vector<std::string>>& Gpus() {
  static const auto* const gpus = [] {
    auto driver = CudaDriver::Load();
    return new absl::StatusOr<std::vector<std::string>>(
        driver.ok() ? absl::StatusOr<std::vector<std::string>>((*driver)->gpu_uuids())
                    : driver.status());
  }();
  return *gpus;
}

std::unique_ptr<PlaneSource> Open() {
  auto source = AllocatorPlaneSource::Open({.program = AllocatorProgram()});
  EXPECT_OK(source);
  return *std::move(source);
}

// Without GPU all tests are skipped, unless the host is said to have some: then the program fails.
class GpuEnvironment : public ::testing::Environment {
 public:
  void SetUp() override {
    if (Gpus().ok() && !Gpus()->empty()) return;
    const char* const required = getenv("NODECOMM_REQUIRE_GPU");
    if (required != nullptr && std::string(required) == "1") {
      FAIL() << "NODECOMM_REQUIRE_GPU=1, but no GPU: " << Gpus().status();
    }
    GTEST_SKIP() << "no GPU: " << Gpus().status();
  }
};
[[maybe_unused]] const auto* const kEnvironment =
    ::testing::AddGlobalTestEnvironment(new GpuEnvironment);

INSTANTIATE_TEST_SUITE_P(Allocator, PlaneSourceConformance,
                         ::testing::Values(PlaneSourceUnderTest{
                             .name = "allocator",
                             .make = Open,
                             .gpu_uuids = [] { return *Gpus(); },
                             .too_many_bytes = ByteCount{size_t{1} << 42}}));

TEST(AllocatorProgram, OutlivesTheTerminalsSignals) {
  auto child = AllocatorChild::Start(AllocatorProgram(), {});
  ASSERT_OK(child);
  ASSERT_OK((*child)->Ask(Gpus()->front(), 2_MiB, absl::Seconds(60)).plane);
  ASSERT_EQ(kill((*child)->pid(), SIGINT), 0);
  ASSERT_EQ(kill((*child)->pid(), SIGTERM), 0);
  EXPECT_OK((*child)->Ask(Gpus()->front(), 2_MiB, absl::Seconds(60)).plane);
}

TEST(AllocatorProgram, ServesAllGpusWhateverTheEnvironmentShows) {
  ASSERT_EQ(setenv("CUDA_VISIBLE_DEVICES", "", 1), 0);
  auto source = Open();
  for (const std::string& uuid : *Gpus()) EXPECT_OK(source->Create(uuid, 2_MiB));
  unsetenv("CUDA_VISIBLE_DEVICES");
}

}  // namespace
}  // namespace nodecomm
