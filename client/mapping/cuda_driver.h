// The CUDA driver's functions that mapping needs and that have no twin in the runtime. Design note:
// client/README.md, "mapping".
#pragma once

#include <cuda.h>

#include "absl/status/statusor.h"

namespace nodecomm {

// A table of plain pointers; trivially destructible.
struct CudaDriver {
  decltype(&cuInit) init;
  decltype(&cuDeviceGetCount) device_get_count;
  decltype(&cuDeviceGet) device_get;
  decltype(&cuDeviceGetUuid_v2) device_get_uuid;
  decltype(&cuDeviceGetPCIBusId) device_get_pci_bus_id;
  decltype(&cuDeviceGetAttribute) device_get_attribute;
  decltype(&cuDevicePrimaryCtxRetain) primary_context_retain;
  decltype(&cuCtxGetCurrent) context_get_current;
  decltype(&cuCtxPushCurrent) context_push;
  decltype(&cuCtxPopCurrent) context_pop;
  decltype(&cuThreadExchangeStreamCaptureMode) thread_exchange_capture_mode;
  decltype(&cuMemGetAllocationGranularity) memory_granularity;
  decltype(&cuMemImportFromShareableHandle) memory_import;
  decltype(&cuMemAddressReserve) address_reserve;
  decltype(&cuMemAddressFree) address_free;
  decltype(&cuMemMap) memory_map;
  decltype(&cuMemUnmap) memory_unmap;
  decltype(&cuMemSetAccess) memory_set_access;
  decltype(&cuMemRelease) memory_release;

  // The process's table, initialised; found once. FailedPrecondition: no driver or no GPU here.
  static absl::StatusOr<const CudaDriver*> Get();
};

}  // namespace nodecomm
