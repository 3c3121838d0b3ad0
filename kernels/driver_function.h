// Functions of the CUDA driver, found at run time: one library serves hosts with and without a GPU,
// so nothing links libcuda. Built only where there is a CUDA compiler.
#pragma once

#include "absl/status/status.h"
#include "client/base/status_macros.h"

namespace nodecomm {

// In the form that it has had since CUDA 12.4, the oldest driver that is served.
// FailedPrecondition: no driver here, or an older one.
absl::Status FindDriverFunction(const char* name, void** function);

template <typename Function>
absl::Status FindDriverFunction(const char* name, Function& function) {
  void* found = nullptr;
  ABSL_RETURN_IF_ERROR(FindDriverFunction(name, &found));
  function = reinterpret_cast<Function>(found);
  return absl::OkStatus();
}

}  // namespace nodecomm
