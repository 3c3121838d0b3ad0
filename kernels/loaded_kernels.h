// The kernels of a group's calls, loaded. Not what launches them (all_reduce_cuda.h).
#pragma once

#include <cuda.h>

#include <array>
#include <cstddef>

#include "absl/status/statusor.h"
#include "client/base/quantities.h"
#include "kernels/all_reduce.h"
#include "kernels/device/call.h"
#include "kernels/selection.h"

namespace nodecomm::kernels {

// What a group of one world size launches on one device, as the driver's handles, and what it
// launches them with: the runtime looks a kernel up at every launch, which takes longer than all
// else that a call adds (README.md, "Tried"). Plain data, valid as long as the device's primary
// context.
struct LoadedKernels {
  // Loads every kernel that such a group may launch: lazy loading beside a spinning kernel
  // deadlocks, so this must have returned before the group is confirmed.
  static absl::StatusOr<LoadedKernels> LoadOnCurrentDevice(WorldSize world_size);

  // Where the kernel is that serves a launch.
  static size_t Index(ElementType type, Algorithm algorithm, bool packet_a_thread, Code code) {
    size_t index = static_cast<size_t>(type);
    index = index * 2 + (algorithm == Algorithm::kTwoShot ? 1 : 0);
    index = index * 2 + (packet_a_thread ? 1 : 0);
    return index * 3 + static_cast<size_t>(code);
  }

  // 3 types, 2 algorithms, 2 kinds of launch, 3 kinds of code.
  std::array<CUfunction, 3 * 2 * 2 * 3> functions = {};
  CUfunction check = nullptr;
  decltype(&cuLaunchKernelEx) launch = nullptr;
  decltype(&cuStreamIsCapturing) is_capturing = nullptr;
};

}  // namespace nodecomm::kernels
