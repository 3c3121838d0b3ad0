// Where one way of doing an all-reduce begins to beat another, by architecture and number of ranks:
// measured figures with their origin. Not the choice itself (selection.h).
#pragma once

#include <array>
#include <cstddef>

#include "client/base/quantities.h"

namespace nodecomm::kernels {

using BytesByWorldSize = std::array<size_t, kWorldSizeMax + 1>;

struct Tuning {
  // The largest message that one-shot serves.
  BytesByWorldSize one_shot_bytes_max;
  // Threads of a block at most, where two ranks' one-shot takes a packet a thread.
  size_t two_rank_threads_max;
};

// `architecture`: 10 * major + minor of the compute capability.
const Tuning& TuningFor(int architecture);

// That by which GPUs of these two plan together: theirs, if it is the same; else the older, and
// none that has kernels which the other has not.
int CommonArchitecture(int a, int b);

}  // namespace nodecomm::kernels
