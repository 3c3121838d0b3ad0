#include "client/mapping/cuda_driver.h"

#include "client/base/status_macros.h"
#include "kernels/cuda_status.h"
#include "kernels/driver_function.h"

namespace nodecomm {
namespace {

absl::StatusOr<CudaDriver> Load() {
  CudaDriver driver = {};
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuInit", driver.init));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuDeviceGetCount", driver.device_get_count));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuDeviceGet", driver.device_get));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuDeviceGetUuid", driver.device_get_uuid));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuDeviceGetPCIBusId", driver.device_get_pci_bus_id));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuDeviceGetAttribute", driver.device_get_attribute));
  ABSL_RETURN_IF_ERROR(
      FindDriverFunction("cuDevicePrimaryCtxRetain", driver.primary_context_retain));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuCtxGetCurrent", driver.context_get_current));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuCtxPushCurrent", driver.context_push));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuCtxPopCurrent", driver.context_pop));
  ABSL_RETURN_IF_ERROR(
      FindDriverFunction("cuThreadExchangeStreamCaptureMode", driver.thread_exchange_capture_mode));
  ABSL_RETURN_IF_ERROR(
      FindDriverFunction("cuMemGetAllocationGranularity", driver.memory_granularity));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuMemImportFromShareableHandle", driver.memory_import));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuMemAddressReserve", driver.address_reserve));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuMemAddressFree", driver.address_free));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuMemMap", driver.memory_map));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuMemUnmap", driver.memory_unmap));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuMemSetAccess", driver.memory_set_access));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuMemRelease", driver.memory_release));
  ABSL_RETURN_IF_ERROR(CudaStatus(driver.init(0), "initialise the CUDA driver"));
  return driver;
}

}  // namespace

absl::StatusOr<const CudaDriver*> CudaDriver::Get() {
  // Leaked on purpose: mappings may be undone while the process exits. A failure is not retried: a
  // driver does not appear in a running process.
  static const absl::StatusOr<CudaDriver>* driver = new absl::StatusOr<CudaDriver>(Load());
  if (!driver->ok()) return driver->status();
  return &driver->value();
}

}  // namespace nodecomm
