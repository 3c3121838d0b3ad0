#include "tests/gpu/early_reader.h"
#include "tests/gpu/overlapping_launch.h"

namespace nodecomm {
namespace {

// Few blocks: they need room beside the kernel before them.
constexpr unsigned kBlocks = 16;
constexpr unsigned kThreads = 256;

// What:     copies `count` sums of the kernel before it; counts those of a few, spread over all,
//           that were others before the wait. That first look is the test's alone.
// Grid:     any.
// Ordering: begins when the kernel before lets it; what it copies, it reads behind that one's end.
__global__ void ReadEarlyKernel(const float* sums, float* copies, size_t count,
                                uint32_t* seen_changing) {
  const size_t threads = size_t{gridDim.x} * blockDim.x;
  const size_t thread = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const volatile float* sum = sums + thread * count / threads;
  const float early = *sum;
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  if (early != *sum) atomicAdd(seen_changing, 1u);
  for (size_t i = thread; i < count; i += threads) copies[i] = sums[i];
}

}  // namespace

EarlyReader::EarlyReader(size_t count)
    : count_(count), copies_(count * sizeof(float)), seen_changing_(sizeof(uint32_t)) {
  CHECK_CUDA(cudaMemset(seen_changing_.data(), 0, sizeof(uint32_t)));
}

void EarlyReader::Enqueue(const float* sums, cudaStream_t stream) const {
  LaunchToOverlap(ReadEarlyKernel, kBlocks, kThreads, stream, sums,
                  reinterpret_cast<float*>(copies_.data()), count_,
                  reinterpret_cast<uint32_t*>(seen_changing_.data()));
}

uint32_t EarlyReader::CountSeenChanging() const {
  uint32_t count = 0;
  CHECK_CUDA(cudaMemcpy(&count, seen_changing_.data(), sizeof(count), cudaMemcpyDeviceToHost));
  return count;
}

}  // namespace nodecomm
