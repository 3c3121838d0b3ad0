// access.h as kernels on the current GPU. Not the choice of GPU, not the reading of findings
// (cuda_pair.cc). Design note: daemon/probe/README.md.
#pragma once

#include <cuda_runtime_api.h>

#include "daemon/probe/access.h"

namespace nodecomm::probe {

// Loads all kernels: one that is loaded beside a kernel that waits for it never starts.
cudaError_t LoadProbeKernels();

// `findings` is device memory of this GPU, kNoFindings at the start; kernels add to it.
cudaError_t LaunchWrite(std::byte* memory, uint64_t packets, uint64_t seed, int blocks,
                        cudaStream_t stream);
cudaError_t LaunchCompare(std::byte* memory, uint64_t packets, uint64_t seed, int blocks,
                          Findings* findings, cudaStream_t stream);
// Both wait for the same kernel on the other side.
cudaError_t LaunchExchange(const Exchange& exchange, Findings* findings, cudaStream_t stream);
cudaError_t LaunchPingPong(const Exchange& exchange, Turn turn, Findings* findings,
                           cudaStream_t stream);

}  // namespace nodecomm::probe
