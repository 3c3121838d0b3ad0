// A GPU of this process: planes are imported from the CUDA driver, kernels run on the caller's
// streams. Not how the memory came to be: the daemon's allocator makes it. Design note:
// client/README.md, "mapping".
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "client/mapping/device.h"

namespace nodecomm {

// The GPU that CUDA counts as `index` in this process. Makes its primary context if there is none.
// InvalidArgument: there is no such GPU; Unimplemented: this library was built without CUDA.
absl::StatusOr<std::unique_ptr<Device>> CreateCudaDevice(DeviceIndex index);

}  // namespace nodecomm
