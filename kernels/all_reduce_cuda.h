// The same as AllReduceOnHost (all_reduce.h), on a GPU stream. Not the kernels
// (all_reduce_kernels.cuh), nor the plan (selection.h).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "absl/status/status.h"
#include "kernels/all_reduce.h"
#include "kernels/device/call.h"
#include "kernels/loaded_kernels.h"
#include "kernels/selection.h"

namespace nodecomm::kernels {

// One rank's calls. One at a time.
class AllReduceCalls {
 public:
  AllReduceCalls(const LoadedKernels& kernels, const Binding& binding)
      : kernels_(kernels), binding_(binding) {}

  // Enqueues the all-reduce on `stream` of the device, which is current: one kernel launch (several
  // for messages larger than a slot where a group of more than two ranks was told to use one-shot),
  // and one of a single thread before it in checked mode; nothing else. May be captured.
  // InvalidArgument: as CheckMessage (call_setup.h); what CudaStatus makes of a launch that failed.
  // That the group failed shows in the binding's failure record alone.
  absl::Status Enqueue(const Message& message, cudaStream_t stream);

 private:
  // One launch, but for the stream.
  struct Launch {
    CUfunction kernel = nullptr;
    Grid grid;
    Call call = {};
  };

  bool IsBeingCaptured(cudaStream_t stream) const;
  // Whether the last plan serves this message, too.
  bool IsPlanned(const Message& message, Code code) const;
  absl::Status EnqueuePlanned(const Message& message, cudaStream_t stream);
  absl::Status PlanAndEnqueue(const Message& message, Code code, cudaStream_t stream);
  // `arguments`: a pointer to each.
  absl::Status Run(CUfunction kernel, Grid grid, void** arguments, cudaStream_t stream) const;

  const LoadedKernels kernels_;
  const Binding binding_;

  // Of the last call of a single launch, whose next is nearly always the same but for the buffers:
  // planning anew takes a twentieth of the launch (README.md, "Tried").
  size_t planned_count_ = 0;  // 0: there is none
  ElementType planned_type_ = ElementType::kFloat32;
  Code planned_code_ = Code::kFull;
  Launch planned_;
};

}  // namespace nodecomm::kernels
