#include "kernels/driver_function.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "kernels/cuda_status.h"

namespace nodecomm {
namespace {

constexpr unsigned kDriverVersion = 12040;

}  // namespace

absl::Status FindDriverFunction(const char* name, void** function) {
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(name, function, kDriverVersion, cudaEnableDefault, &found);
#else
  const cudaError_t error = cudaGetDriverEntryPoint(name, function, cudaEnableDefault, &found);
#endif
  ABSL_RETURN_IF_ERROR(CudaStatus(error, absl::StrFormat("look up %s in the NVIDIA driver", name)));
  if (found != cudaDriverEntryPointSuccess) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the NVIDIA driver of this host has no %s: install one for CUDA 12.4 or later", name));
  }
  return absl::OkStatus();
}

}  // namespace nodecomm
