// Which kernel serves a launch. Not the kernels (all_reduce_kernels.cuh), which are compiled
// elsewhere.
#pragma once

#include "kernels/all_reduce.h"
#include "kernels/device/call.h"
#include "kernels/selection.h"

namespace nodecomm::kernels {

// By its address, as the runtime names it; takes a Call. Defined for every type of element, each in
// a file of its own. `packet_a_thread`: of the launch (LaunchPlan).
template <ElementType kType>
const void* FindKernelOfType(Algorithm algorithm, bool packet_a_thread, Code code,
                             WorldSize world_size);

}  // namespace nodecomm::kernels
