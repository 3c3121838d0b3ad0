#include "client/mapping/host_device.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr size_t kBytes = 1 << 16;

v1::Host HostOfTwo() {
  v1::Host host;
  for (const char* uuid : {"GPU-a", "GPU-b"}) {
    v1::Gpu* gpu = host.add_gpus();
    gpu->set_uuid(uuid);
    gpu->set_compute_capability_major(9);
  }
  return host;
}

std::unique_ptr<Device> MakeDevice() { return *CreateHostDevice(HostOfTwo(), DeviceIndex{1}); }

UniqueFd MakeMemory(size_t bytes) {
  UniqueFd fd(memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  return fd;
}

TEST(HostDevice, IsTheGpuThatTheTopologyListsThere) {
  const std::unique_ptr<Device> device = MakeDevice();
  EXPECT_EQ(device->facts().gpu_uuid, "GPU-b");
  EXPECT_EQ(device->facts().compute_capability_major, 9);
}

TEST(HostDevice, UnknownIndexNamesTheKnownOnes) {
  EXPECT_THAT(CreateHostDevice(HostOfTwo(), DeviceIndex{2}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 to 1")));
  EXPECT_THAT(CreateHostDevice(HostOfTwo(), DeviceIndex{-1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("device -1")));
}

TEST(HostDevice, PlanesOfTwoMembersAreTheSameMemory) {
  const std::unique_ptr<Device> device = MakeDevice();
  const UniqueFd memory = MakeMemory(kBytes);
  const absl::StatusOr<Mapping> mine = device->MapPlane(memory.Duplicate(), {kBytes});
  const absl::StatusOr<Mapping> peers = device->MapPlane(memory.Duplicate(), {kBytes});
  ASSERT_OK(mine);
  ASSERT_OK(peers);
  EXPECT_NE(mine->data(), peers->data());
  mine->data()[kBytes - 1] = std::byte{42};
  EXPECT_EQ(peers->data()[kBytes - 1], std::byte{42});
}

TEST(HostDevice, ShorterMemoryThanAgreedIsAnErrorAndNoFault) {
  EXPECT_THAT(MakeDevice()->MapPlane(MakeMemory(kBytes - 1), {kBytes}),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("65535")));
}

TEST(HostDevice, WhatIsNoMemoryIsAnError) {
  EXPECT_FALSE(MakeDevice()->MapPlane(UniqueFd(), {kBytes}).ok());
}

TEST(HostDevice, OneByteThatIsNotZeroIsFoundAndNamed) {
  const std::unique_ptr<Device> device = MakeDevice();
  const absl::StatusOr<Mapping> plane = device->MapPlane(MakeMemory(kBytes), {kBytes});
  ASSERT_OK(plane);
  EXPECT_OK(device->CheckZero(*plane));
  for (const size_t offset : {size_t{0}, kBytes / 2 + 1, kBytes - 1}) {
    plane->data()[offset] = std::byte{0x40};
    EXPECT_THAT(device->CheckZero(*plane),
                StatusIs(absl::StatusCode::kInternal,
                         HasSubstr("offset " + std::to_string(offset) + " of 65536")));
    plane->data()[offset] = std::byte{0};
  }
  EXPECT_OK(device->CheckZero(*plane));
}

TEST(HostDevice, ControlPageFollowsItsFile) {
  const std::unique_ptr<Device> device = MakeDevice();
  const UniqueFd file = MakeMemory(kControlPageBytes);
  const std::string name = "/proc/self/fd/" + std::to_string(file.get());
  const absl::StatusOr<ControlPageView> page =
      device->MapControlPage(UniqueFd(open(name.c_str(), O_RDONLY | O_CLOEXEC)));
  ASSERT_OK(page);
  EXPECT_EQ(page->on_host->stop, 0);
  const uint32_t stop = 1;
  ASSERT_EQ(pwrite(file.get(), &stop, sizeof(stop), offsetof(ControlPage, stop)), 4);
  EXPECT_EQ(__atomic_load_n(&page->on_host->stop, __ATOMIC_ACQUIRE), 1);
  EXPECT_EQ(page->on_device, page->on_host);
}

TEST(HostDevice, CopiesInsteadOfReducingForOneRank) {
  const std::array<float, 3> in = {1, 2, 3};
  std::array<float, 3> out = {};
  EXPECT_OK(MakeDevice()->Copy(
      {.in = in.data(), .out = out.data(), .count = 2, .type = kernels::ElementType::kFloat32},
      nullptr));
  EXPECT_EQ(out, (std::array<float, 3>{1, 2, 0}));
}

TEST(HostDevice, ReadsThePlanesHeader) {
  const std::unique_ptr<Device> device = MakeDevice();
  const absl::StatusOr<Mapping> plane = device->MapPlane(MakeMemory(kBytes), {kBytes});
  ASSERT_OK(plane);
  kernels::PlaneHeader header = {};
  for (kernels::BlockState& block : header.block) block.epoch = {.begun = 17, .ended = 17};
  std::memcpy(plane->data(), &header, sizeof(header));
  const absl::StatusOr<PlaneHeaderCopy> copy = device->CopyPlaneHeader(*plane);
  ASSERT_OK(copy);
  EXPECT_EQ(kernels::LastEpoch(copy->data()), 17);
}

int unmapped = 0;
void CountUnmap(std::byte* /*data*/, ByteCount /*bytes*/) { ++unmapped; }

TEST(Mapping, IsUnmappedOnceByItsLastOwner) {
  unmapped = 0;
  std::byte memory{};
  {
    Mapping first(&memory, {1}, &CountUnmap);
    Mapping second = std::move(first);
    Mapping third;
    third = std::move(second);
    EXPECT_EQ(third.data(), &memory);
    EXPECT_EQ(unmapped, 0);
  }
  EXPECT_EQ(unmapped, 1);
}

TEST(Mapping, AssigningUnmapsWhatWasHeld) {
  unmapped = 0;
  std::byte memory[2] = {};
  Mapping held(&memory[0], {1}, &CountUnmap);
  held = Mapping(&memory[1], {1}, &CountUnmap);
  EXPECT_EQ(unmapped, 1);
}

}  // namespace
}  // namespace nodecomm
