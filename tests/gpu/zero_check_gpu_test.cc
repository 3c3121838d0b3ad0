// The check for zeros on a GPU's memory, by its kernel alone.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "kernels/zero_check_cuda.h"
#include "tests/gpu/cuda_objects.h"

namespace nodecomm::kernels {
namespace {

class ZeroCheckGpuTest : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
      const char* require = std::getenv("NODECOMM_REQUIRE_GPU");
      if (require != nullptr && std::string_view(require) == "1") FAIL() << "no GPU";
      GTEST_SKIP() << "no GPU";
    }
    void* check = nullptr;
    CHECK_CUDA(cudaHostAlloc(&check, sizeof(ZeroCheck), cudaHostAllocMapped));
    check_ = static_cast<ZeroCheck*>(check);
  }
  void TearDown() override {
    if (check_ != nullptr) CHECK_CUDA(cudaFreeHost(check_));
  }

  // What the check says of `bytes` bytes that are zero but for the one at `dirty`, if that is
  // inside.
  uint64_t Check(size_t bytes, size_t dirty, uint32_t cancelled = 0) {
    const DeviceMemory memory(bytes);
    const Stream stream;
    CHECK_CUDA(cudaMemset(memory.data(), 0, bytes));
    if (dirty < bytes) CHECK_CUDA(cudaMemset(memory.data() + dirty, 0x40, 1));
    CHECK_CUDA(cudaDeviceSynchronize());
    *check_ = {.cancelled = cancelled, .offset_plus_one = 0};
    const absl::Status enqueued = CheckZeroOnStream(reinterpret_cast<std::byte*>(memory.data()),
                                                    ByteCount{bytes}, check_, stream.get());
    EXPECT_TRUE(enqueued.ok()) << enqueued;
    stream.Synchronize();
    return check_->offset_plus_one;
  }

  ZeroCheck* check_ = nullptr;
};

TEST_F(ZeroCheckGpuTest, FindsOneByteWhereverItIs) {
  for (const size_t bytes : {size_t{16}, size_t{4096}, size_t{2} << 20, (size_t{36} << 20) + 16}) {
    EXPECT_EQ(Check(bytes, bytes), 0u) << bytes;
    for (const size_t dirty : {size_t{0}, bytes / 2 + 3, bytes - 1}) {
      EXPECT_EQ(Check(bytes, dirty), dirty / 16 * 16 + 1) << "byte " << dirty << " of " << bytes;
    }
  }
}

TEST_F(ZeroCheckGpuTest, DoesNotLookOnceCancelled) { EXPECT_EQ(Check(4096, 7, 1), 0u); }

}  // namespace
}  // namespace nodecomm::kernels
