#include "tests/gpu/late_writer.h"
#include "tests/gpu/overlapping_launch.h"

namespace nodecomm {
namespace {

constexpr uint64_t kLateNs = 300'000;
// Few blocks: the kernels behind it need room beside it.
constexpr unsigned kBlocks = 16;
constexpr unsigned kThreads = 256;

struct Times {
  uint64_t written;
  uint64_t passed;
};

__device__ uint64_t NowNs() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

// What:     adds one to each of `count` numbers, kLateNs after its start.
// Grid:     any.
// Ordering: launched behind the end of what comes before it on the stream.
__global__ void AddLateKernel(float* numbers, size_t count, Times* times) {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
  const uint64_t begin = NowNs();
  while (NowNs() - begin < kLateNs) __nanosleep(1000);
  const size_t step = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    numbers[i] += 1;
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) times->written = NowNs();
}

// What:     writes down when it ran. Waits for no kernel before it.
// Grid:     one thread.
__global__ void PassKernel(Times* times) { times->passed = NowNs(); }

}  // namespace

LateWriter::LateWriter(size_t count)
    : count_(count), numbers_(count * sizeof(float)), times_(sizeof(Times)) {
  CHECK_CUDA(cudaMemset(numbers_.data(), 0, count * sizeof(float)));
  CHECK_CUDA(cudaMemset(times_.data(), 0, sizeof(Times)));
}

void LateWriter::Enqueue(cudaStream_t stream) {
  Times* times = reinterpret_cast<Times*>(times_.data());
  AddLateKernel<<<kBlocks, kThreads, 0, stream>>>(reinterpret_cast<float*>(numbers_.data()), count_,
                                                  times);
  CHECK_CUDA(cudaGetLastError());
  LaunchToOverlap(PassKernel, 1, 1, stream, times);
}

bool LateWriter::HaveOverlapped() const {
  Times times;
  CHECK_CUDA(cudaMemcpy(&times, times_.data(), sizeof(times), cudaMemcpyDeviceToHost));
  return times.passed < times.written;
}

}  // namespace nodecomm
