// The device of a simulated host: planes are memory files, kernels run on the calling thread.
// Not a GPU. Held to the same protocol and the same calls as one.
// Design note: client/README.md, "mapping".
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "client/mapping/device.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// The `index`-th GPU of the topology that the daemon simulates. InvalidArgument: there is none.
absl::StatusOr<std::unique_ptr<Device>> CreateHostDevice(const v1::Host& host, DeviceIndex index);

}  // namespace nodecomm
