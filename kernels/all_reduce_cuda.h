// The same as AllReduceOnHost (all_reduce.h), on a GPU stream.
// Built only where there is a CUDA compiler.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/all_reduce.h"
#include "kernels/device/call.h"
#include "kernels/selection.h"

namespace nodecomm::kernels {

// What a group of one world size launches on one device, as the driver's handles: the runtime looks
// a kernel up at every launch, which takes longer than all else that a call adds (README.md,
// "Tried"). Plain data, valid as long as the device's primary context.
class AllReduceKernels {
 public:
  // None: nothing may be launched.
  AllReduceKernels() = default;

  // Loads every kernel that such a group may launch: lazy loading beside a spinning kernel
  // deadlocks, so this must have returned before the group is confirmed.
  static absl::StatusOr<AllReduceKernels> LoadOnCurrentDevice(WorldSize world_size);

  // Enqueues the all-reduce on `stream` of the device, which is current: one kernel launch (several
  // for messages larger than a slot where a group of more than two ranks was told to use one-shot),
  // and one of a single thread before it in checked mode; nothing else. May be captured. One call
  // at a time a binding. InvalidArgument: as CheckMessage (call_setup.h); what CudaStatus makes of
  // a launch that failed. That the group failed shows in `binding.failure` alone.
  absl::Status AllReduceOnStream(const Binding& binding, const Message& message,
                                 cudaStream_t stream) const;

 private:
  // Where the kernel is that serves a launch.
  static size_t Index(ElementType type, Algorithm algorithm, bool packet_a_thread, Code code);
  // `arguments`: a pointer to each.
  absl::Status Launch(CUfunction kernel, Grid grid, void** arguments, const Binding& binding,
                      cudaStream_t stream) const;
  bool IsBeingCaptured(cudaStream_t stream) const;

  // 3 types, 2 algorithms, 2 kinds of launch, 2 kinds of code.
  std::array<CUfunction, 3 * 2 * 2 * 3> functions_ = {};
  CUfunction check_ = nullptr;
  decltype(&cuLaunchKernelEx) launch_ = nullptr;
  decltype(&cuStreamIsCapturing) is_capturing_ = nullptr;
};

}  // namespace nodecomm::kernels
