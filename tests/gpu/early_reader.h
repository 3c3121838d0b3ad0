// A consumer that begins early: what a model's own kernels may do that are launched to overlap
// (programmatic dependent launch) the call whose sums they read. Needs compute capability 9.0 or
// later to overlap.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/gpu/cuda_objects.h"

namespace nodecomm {

// A kernel of the current device to come right behind a call: it begins as soon as that allows,
// waits (griddepcontrol.wait), then copies the sums.
class EarlyReader {
 public:
  explicit EarlyReader(size_t count);

  // Reads the `count` sums that the call before writes to `sums`. May be captured.
  void Enqueue(const float* sums, cudaStream_t stream) const;
  const float* copies() const { return reinterpret_cast<const float*>(copies_.data()); }
  // How many sums were seen to change behind its beginning, in all that it has read. To be asked
  // when that is done.
  uint32_t CountSeenChanging() const;

 private:
  const size_t count_;
  const DeviceMemory copies_;
  const DeviceMemory seen_changing_;
};

}  // namespace nodecomm
