// Whether memory of a GPU is zero, asked of the GPU itself. Not for the path of calls: for memory
// that nobody writes meanwhile. Built only where there is a CUDA compiler.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "client/base/quantities.h"

namespace nodecomm::kernels {

// In memory that host and GPU both see (pinned).
struct ZeroCheck {
  // By the host: a check that has not begun does not touch the memory any more.
  uint32_t cancelled;
  // By the GPU, once the stream is done: 0 if all is zero, else 1 more than the offset of 16 bytes
  // that are not.
  uint64_t offset_plus_one;
};

// Enqueues the check on `stream` of the current device. `memory` is aligned to 16 bytes, `bytes` a
// multiple of 16; `check` is zero, as the GPU sees it, and outlives the work.
absl::Status CheckZeroOnStream(const std::byte* memory, ByteCount bytes, ZeroCheck* check,
                               cudaStream_t stream);

}  // namespace nodecomm::kernels
