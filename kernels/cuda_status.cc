#include "kernels/cuda_status.h"

#include <string>

#include "absl/strings/str_format.h"

namespace nodecomm {

absl::Status CudaStatus(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  cudaGetLastError();
  const std::string message =
      absl::StrFormat("%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
  switch (error) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(message);
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorDevicesUnavailable:
      return absl::FailedPreconditionError(message);
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureImplicit:
      return absl::FailedPreconditionError(message + "; a graph is being captured on this GPU");
    case cudaErrorSystemNotReady:
      return absl::UnavailableError(message + "; is the fabric manager running?");
    default:
      return absl::InternalError(message);
  }
}

}  // namespace nodecomm
