#include "daemon/memory/memfd_plane_source.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "tests/daemon/memory/plane_source_conformance.h"

namespace nodecomm {
namespace {

v1::Host TwoGpus() {
  v1::Host host;
  for (const char* uuid : {"GPU-a", "GPU-b"}) {
    v1::Gpu* gpu = host.add_gpus();
    gpu->set_uuid(uuid);
    gpu->set_memory_bytes((64_MiB).value);
  }
  return host;
}

INSTANTIATE_TEST_SUITE_P(Memfd, PlaneSourceConformance,
                         ::testing::Values(PlaneSourceUnderTest{
                             .name = "memfd",
                             .make = [] { return std::make_unique<MemfdPlaneSource>(TwoGpus()); },
                             .gpu_uuids =
                                 [] {
                                   return std::vector<std::string>{"GPU-a", "GPU-b"};
                                 },
                             .too_many_bytes = 66_MiB}));

TEST(MemfdPlaneSource, PlanesAreZeroedAndCanBeShared) {
  MemfdPlaneSource source(TwoGpus());
  auto plane = source.Create("GPU-a", 2_MiB);
  ASSERT_OK(plane);
  const size_t bytes = plane->bytes.value;
  const auto map = [&](const UniqueFd& fd) {
    return static_cast<char*>(
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
  };
  char* const one = map(plane->fd);
  ASSERT_NE(one, MAP_FAILED);
  EXPECT_TRUE(std::all_of(one, one + bytes, [](char byte) { return byte == 0; }));
  char* const other = map(plane->fd.Duplicate());
  ASSERT_NE(other, MAP_FAILED);
  one[bytes - 1] = 7;
  EXPECT_EQ(other[bytes - 1], 7);
  munmap(one, bytes);
  munmap(other, bytes);
}

TEST(MemfdPlaneSource, NobodyCanShrinkAPlane) {
  MemfdPlaneSource source(TwoGpus());
  auto plane = source.Create("GPU-a", 2_MiB);
  ASSERT_OK(plane);
  EXPECT_NE(ftruncate(plane->fd.get(), 0), 0);
  struct stat status = {};
  ASSERT_EQ(fstat(plane->fd.get(), &status), 0);
  EXPECT_EQ(static_cast<size_t>(status.st_size), (2_MiB).value);
}

}  // namespace
}  // namespace nodecomm
