// Stands in for cuda_device.cc in a build without CUDA.
// See device.h.
// Design note: client/perf/README.md.
#include "client/perf/device.h"

namespace nodecomm::perf {

absl::StatusOr<std::unique_ptr<Device>> CreateCudaDevice(DeviceIndex) {
  return absl::UnimplementedError(
      "this nodecomm-perf was built without CUDA: build it where nvcc is, or start the daemon with "
      "--simulate");
}

int CudaDeviceCount() { return 0; }

CudaVersions ReadCudaVersions() { return {}; }

}  // namespace nodecomm::perf
