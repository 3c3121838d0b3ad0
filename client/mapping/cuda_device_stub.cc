// Stands in for cuda_device.cc where there is no CUDA compiler.
// Not a simulation: host_device.h is that.
#include "client/mapping/cuda_device.h"

namespace nodecomm {

absl::StatusOr<std::unique_ptr<Device>> CreateCudaDevice(DeviceIndex /*index*/) {
  return absl::UnimplementedError(
      "this libnodecomm was built without CUDA, but the daemon serves GPUs: install one built with "
      "CUDA Toolkit 12.4 or later");
}

}  // namespace nodecomm
