// A producer that writes late: what a model's own kernels may do where they let the next kernel
// start early (programmatic dependent launch). Needs compute capability 9.0 or later to overlap.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/gpu/cuda_objects.h"

namespace nodecomm {

// Two kernels of the current device for one stream. The first allows the second to start at once,
// and adds one to each of its numbers only when that is long over. The second ends without having
// waited for it. So whoever comes third and waits for the kernel before it finds that one ended,
// while the numbers are not there yet.
class LateWriter {
 public:
  // The numbers are zero.
  explicit LateWriter(size_t count);

  const float* numbers() const { return reinterpret_cast<const float*>(numbers_.data()); }
  // May be captured.
  void Enqueue(cudaStream_t stream);
  // Whether the second kernel began before the first had written, the last time that they ran. To
  // be asked when that is done.
  bool HaveOverlapped() const;

 private:
  const size_t count_;
  const DeviceMemory numbers_;
  const DeviceMemory times_;
};

}  // namespace nodecomm
