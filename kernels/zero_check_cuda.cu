#include <algorithm>

#include "absl/strings/str_format.h"
#include "kernels/cuda_status.h"
#include "kernels/zero_check_cuda.h"

namespace nodecomm::kernels {
namespace {

constexpr unsigned kThreads = 512;
// A few times what a GPU has multiprocessors, so that all of them read.
constexpr uint64_t kZeroCheckBlocksMax = 512;

// What:     writes to check->offset_plus_one if a word of memory is not zero; which one, if there
//           are several, is left open.
// Shapes:   `words` words of 16 bytes.
// Grid:     any.
// Ordering: nobody writes the memory meanwhile, so loads are plain. The host reads the result after
//           the stream is done.
// Before:   *check is zero, but for `cancelled`, which may be set at any time.
// Failure:  none; ends by itself.
__global__ void __launch_bounds__(kThreads)
    ZeroCheckKernel(const std::byte* memory, uint64_t words, ZeroCheck* check) {
  // One load over the bus a block.
  const volatile uint32_t* cancelled = &check->cancelled;
  if (__syncthreads_or(threadIdx.x == 0 && *cancelled != 0) != 0) return;
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < words; i += step) {
    const uint4 word = reinterpret_cast<const uint4*>(memory)[i];
    if ((word.x | word.y | word.z | word.w) == 0) continue;
    *static_cast<volatile uint64_t*>(&check->offset_plus_one) = i * sizeof(uint4) + 1;
    return;
  }
}

}  // namespace

absl::Status CheckZeroOnStream(const std::byte* memory, ByteCount bytes, ZeroCheck* check,
                               cudaStream_t stream) {
  uint64_t words = bytes.value / sizeof(uint4);
  const auto blocks = static_cast<unsigned>(
      std::clamp<uint64_t>((words + kThreads - 1) / kThreads, 1, kZeroCheckBlocksMax));
  void* arguments[] = {&memory, &words, &check};
  return CudaStatus(cudaLaunchKernel(reinterpret_cast<const void*>(&ZeroCheckKernel), dim3(blocks),
                                     dim3(kThreads), arguments, 0, stream),
                    absl::StrFormat("launch of the check for zeros over %d bytes", bytes.value));
}

}  // namespace nodecomm::kernels
