// A kernel that holds multiprocessors of a GPU for as long as a test wants, as a model's own
// kernels do on another stream. Not a load on memory or links.
#pragma once

#include "tests/gpu/cuda_objects.h"

namespace nodecomm {

// Holds all multiprocessors of the current device but `left_free`: a block each, with all the
// shared memory that there is, so that no block of another kernel fits beside it. Returns once
// every one of them is held.
class BusyMultiprocessors {
 public:
  explicit BusyMultiprocessors(int left_free);
  // Lets them go.
  ~BusyMultiprocessors();
  BusyMultiprocessors(const BusyMultiprocessors&) = delete;
  BusyMultiprocessors& operator=(const BusyMultiprocessors&) = delete;

  // Whether they have been held until now. The kernel ends by itself after ten seconds, so that a
  // test that fails comes to an end.
  bool AreHeld() const;

 private:
  const int device_;
  DeviceMemory words_;  // what the kernel and the host tell each other
  Stream stream_;       // the kernel's
  Stream control_;
};

}  // namespace nodecomm
