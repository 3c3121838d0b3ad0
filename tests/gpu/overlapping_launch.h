// Launches as a model's own kernels may be made: to begin before the kernel before them has ended
// (programmatic dependent launch). For .cu files.
#pragma once

#include <cuda_runtime.h>

#include <type_traits>

#include "tests/gpu/cuda_objects.h"

namespace nodecomm {

// May be captured. The kernel begins when the one before it on the stream allows that, and itself
// waits for that one's end, or does not.
template <class... Arguments>
void LaunchToOverlap(void (*kernel)(Arguments...), unsigned blocks, unsigned threads,
                     cudaStream_t stream, std::type_identity_t<Arguments>... arguments) {
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = 1;
  CHECK_CUDA(cudaLaunchKernelEx(&config, kernel, arguments...));
}

}  // namespace nodecomm
