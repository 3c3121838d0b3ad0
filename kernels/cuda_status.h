// The library's one translation of CUDA's errors, the runtime's and the driver's; the probe uses
// it, too. Built only where there is a CUDA compiler.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <string_view>

#include "absl/status/status.h"

namespace nodecomm {

// `what`: what was tried. The runtime's and the driver's codes are the same numbers. Clears the
// runtime's last error of this thread.
absl::Status CudaStatus(cudaError_t error, std::string_view what);
inline absl::Status CudaStatus(CUresult error, std::string_view what) {
  return CudaStatus(static_cast<cudaError_t>(error), what);
}

}  // namespace nodecomm
