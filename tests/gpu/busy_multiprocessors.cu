#include <chrono>
#include <thread>

#include "tests/gpu/busy_multiprocessors.h"

namespace nodecomm {
namespace {

constexpr uint64_t kNsMax = 10'000'000'000;
constexpr unsigned kSleepNs = 1000;

struct Words {
  uint32_t held;
  uint32_t let_go;
};

__device__ uint64_t NowNs() {
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

// What:     sleeps until words->let_go is set, or for kNsMax.
// Grid:     blocks of one thread; each counts itself in words->held.
// Failure:  none; ends by itself.
__global__ void HoldKernel(Words* words) {
  const uint64_t begin = NowNs();
  atomicAdd(&words->held, 1u);
  while (*static_cast<volatile uint32_t*>(&words->let_go) == 0 && NowNs() - begin < kNsMax) {
    __nanosleep(kSleepNs);
  }
}

int CurrentDevice() {
  int device = 0;
  CHECK_CUDA(cudaGetDevice(&device));
  return device;
}

int Attribute(cudaDeviceAttr attribute, int device) {
  int value = 0;
  CHECK_CUDA(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

}  // namespace

BusyMultiprocessors::BusyMultiprocessors(int left_free)
    : device_(CurrentDevice()), words_(sizeof(Words)) {
  Words* words = reinterpret_cast<Words*>(words_.data());
  CHECK_CUDA(cudaMemsetAsync(words, 0, sizeof(Words), stream_.get()));
  const int blocks = Attribute(cudaDevAttrMultiProcessorCount, device_) - left_free;
  const int shared_bytes = Attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device_);
  CHECK_CUDA(
      cudaFuncSetAttribute(HoldKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  HoldKernel<<<static_cast<unsigned>(blocks), 1, static_cast<size_t>(shared_bytes),
               stream_.get()>>>(words);
  CHECK_CUDA(cudaGetLastError());
  uint32_t held = 0;
  while (held < static_cast<uint32_t>(blocks)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    control_.Copy(&held, &words->held, sizeof(held));
    control_.Synchronize();
  }
}

BusyMultiprocessors::~BusyMultiprocessors() {
  CHECK_CUDA(cudaSetDevice(device_));
  CHECK_CUDA(cudaMemsetAsync(&reinterpret_cast<Words*>(words_.data())->let_go, 1, sizeof(uint32_t),
                             control_.get()));
  stream_.Synchronize();
}

bool BusyMultiprocessors::AreHeld() const {
  const cudaError_t state = cudaStreamQuery(stream_.get());
  if (state != cudaErrorNotReady) CHECK_CUDA(state);
  return state == cudaErrorNotReady;
}

}  // namespace nodecomm
