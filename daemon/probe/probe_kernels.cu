#include "daemon/probe/probe_kernels.h"
#include "kernels/device/gpu.cuh"

namespace nodecomm::probe {
namespace {

using Machine = kernels::GpuMachine;

constexpr int kThreads = 512;
constexpr int kExchangeThreads = 256;
static_assert(kExchangeLanes % kExchangeThreads == 0);

__device__ Lane ThisLane() {
  return {blockIdx.x * blockDim.x + threadIdx.x, gridDim.x * blockDim.x};
}

__device__ void Add(uint64_t* sum, uint64_t value) {
  if (value != 0) {
    atomicAdd(reinterpret_cast<unsigned long long*>(sum), static_cast<unsigned long long>(value));
  }
}

__device__ void Lower(uint64_t* least, uint64_t value) {
  if (value != kNone) {
    atomicMin(reinterpret_cast<unsigned long long*>(least), static_cast<unsigned long long>(value));
  }
}

// One thread's findings into those of all.
__device__ void Merge(const Findings& mine, Findings* all) {
  Add(&all->wrong_bytes, mine.wrong_bytes);
  Lower(&all->first_wrong, mine.first_wrong);
  Add(&all->torn_packets, mine.torn_packets);
  Add(&all->disordered_reads, mine.disordered_reads);
  Add(&all->late_lanes, mine.late_lanes);
  Lower(&all->first_late_round, mine.first_late_round);
  Add(&all->nanoseconds, mine.nanoseconds);
}

__device__ Findings Nothing() {
  Findings findings = {};
  findings.first_wrong = kNone;
  findings.first_late_round = kNone;
  return findings;
}

// Packets from `memory` on, 16-byte aligned; any grid. No waiting.
__global__ void __launch_bounds__(kThreads)
    WriteKernel(std::byte* memory, uint64_t packets, uint64_t seed) {
  WritePattern<Machine>(memory, packets, seed, ThisLane());
}

// Likewise. Reads what kernels that ended before on either GPU have written: the host has waited
// for them.
__global__ void __launch_bounds__(kThreads)
    CompareKernel(std::byte* memory, uint64_t packets, uint64_t seed, Findings* findings) {
  Findings mine = Nothing();
  ComparePattern<Machine>(memory, packets, seed, ThisLane(), mine);
  Merge(mine, findings);
}

// One lane a thread. Waits for the same kernel on the other side, at most its timeout.
__global__ void __launch_bounds__(kExchangeThreads)
    ExchangeKernel(Exchange exchange, Findings* findings) {
  Findings mine = Nothing();
  probe::ExchangeRounds<Machine>(exchange, ThisLane(), mine);
  Merge(mine, findings);
}

// One thread. Likewise.
__global__ void PingPongKernel(Exchange exchange, Turn turn, Findings* findings) {
  Findings mine = Nothing();
  PingPong<Machine>(exchange, turn, mine);
  Merge(mine, findings);
}

}  // namespace

cudaError_t LoadProbeKernels() {
  cudaFuncAttributes ignored;
  for (const void* kernel :
       {reinterpret_cast<const void*>(&WriteKernel), reinterpret_cast<const void*>(&CompareKernel),
        reinterpret_cast<const void*>(&ExchangeKernel),
        reinterpret_cast<const void*>(&PingPongKernel)}) {
    const cudaError_t error = cudaFuncGetAttributes(&ignored, kernel);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t LaunchWrite(std::byte* memory, uint64_t packets, uint64_t seed, int blocks,
                        cudaStream_t stream) {
  WriteKernel<<<blocks, kThreads, 0, stream>>>(memory, packets, seed);
  return cudaGetLastError();
}

cudaError_t LaunchCompare(std::byte* memory, uint64_t packets, uint64_t seed, int blocks,
                          Findings* findings, cudaStream_t stream) {
  CompareKernel<<<blocks, kThreads, 0, stream>>>(memory, packets, seed, findings);
  return cudaGetLastError();
}

cudaError_t LaunchExchange(const Exchange& exchange, Findings* findings, cudaStream_t stream) {
  ExchangeKernel<<<kExchangeLanes / kExchangeThreads, kExchangeThreads, 0, stream>>>(exchange,
                                                                                     findings);
  return cudaGetLastError();
}

cudaError_t LaunchPingPong(const Exchange& exchange, Turn turn, Findings* findings,
                           cudaStream_t stream) {
  PingPongKernel<<<1, 1, 0, stream>>>(exchange, turn, findings);
  return cudaGetLastError();
}

}  // namespace nodecomm::probe
