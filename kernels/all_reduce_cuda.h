// The same as AllReduceOnHost (all_reduce.h), on a GPU stream.
// Built only where there is a CUDA compiler.
#pragma once

#include <cuda_runtime_api.h>

#include "absl/status/status.h"
#include "kernels/all_reduce.h"

namespace nodecomm::kernels {

// Loads every kernel that a group of `world_size` ranks may launch on the current device: lazy
// loading beside a spinning kernel deadlocks, so this must have returned before the group is
// confirmed.
absl::Status LoadKernelsOnCurrentDevice(WorldSize world_size);

// Enqueues the all-reduce on `stream` of the current device; one kernel launch (several for
// messages larger than a slot where a group of more than two ranks was told to use one-shot), and
// one of a single thread before it in checked mode; nothing else. May be captured.
absl::Status AllReduceOnStream(const Binding& binding, const Message& message, cudaStream_t stream);

}  // namespace nodecomm::kernels
