#include "client/mapping/cuda_driver.h"

#include <string>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

// Every function above has had its present form since this version of CUDA.
constexpr unsigned kDriverVersion = 12040;

absl::Status FindFunction(const char* name, void** function) {
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

template <typename Function>
absl::Status Find(const char* name, Function& function) {
  void* found = nullptr;
  ABSL_RETURN_IF_ERROR(FindFunction(name, &found));
  function = reinterpret_cast<Function>(found);
  return absl::OkStatus();
}

absl::StatusOr<CudaDriver> Load() {
  CudaDriver driver = {};
  ABSL_RETURN_IF_ERROR(Find("cuInit", driver.init));
  ABSL_RETURN_IF_ERROR(Find("cuDeviceGetCount", driver.device_get_count));
  ABSL_RETURN_IF_ERROR(Find("cuDeviceGet", driver.device_get));
  ABSL_RETURN_IF_ERROR(Find("cuDeviceGetUuid", driver.device_get_uuid));
  ABSL_RETURN_IF_ERROR(Find("cuDeviceGetPCIBusId", driver.device_get_pci_bus_id));
  ABSL_RETURN_IF_ERROR(Find("cuDeviceGetAttribute", driver.device_get_attribute));
  ABSL_RETURN_IF_ERROR(Find("cuDevicePrimaryCtxRetain", driver.primary_context_retain));
  ABSL_RETURN_IF_ERROR(Find("cuCtxGetCurrent", driver.context_get_current));
  ABSL_RETURN_IF_ERROR(Find("cuCtxPushCurrent", driver.context_push));
  ABSL_RETURN_IF_ERROR(Find("cuCtxPopCurrent", driver.context_pop));
  ABSL_RETURN_IF_ERROR(
      Find("cuThreadExchangeStreamCaptureMode", driver.thread_exchange_capture_mode));
  ABSL_RETURN_IF_ERROR(Find("cuMemGetAllocationGranularity", driver.memory_granularity));
  ABSL_RETURN_IF_ERROR(Find("cuMemImportFromShareableHandle", driver.memory_import));
  ABSL_RETURN_IF_ERROR(Find("cuMemAddressReserve", driver.address_reserve));
  ABSL_RETURN_IF_ERROR(Find("cuMemAddressFree", driver.address_free));
  ABSL_RETURN_IF_ERROR(Find("cuMemMap", driver.memory_map));
  ABSL_RETURN_IF_ERROR(Find("cuMemUnmap", driver.memory_unmap));
  ABSL_RETURN_IF_ERROR(Find("cuMemSetAccess", driver.memory_set_access));
  ABSL_RETURN_IF_ERROR(Find("cuMemRelease", driver.memory_release));
  ABSL_RETURN_IF_ERROR(CudaStatus(driver.init(0), "initialise the CUDA driver"));
  return driver;
}

}  // namespace

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

absl::StatusOr<const CudaDriver*> CudaDriver::Get() {
  // Leaked on purpose: mappings may be undone while the process exits. A failure is not retried: a
  // driver does not appear in a running process.
  static const absl::StatusOr<CudaDriver>* driver = new absl::StatusOr<CudaDriver>(Load());
  if (!driver->ok()) return driver->status();
  return &driver->value();
}

}  // namespace nodecomm
