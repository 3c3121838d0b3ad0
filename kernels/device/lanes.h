// What the threads of a launch share out among themselves where none has more than one packet. On a
// host one thread plays the whole grid, so there it is a loop, and what a GPU's thread keeps in
// registers is looked up again. Not for messages that threads go through in several steps
// (stream.h).
#pragma once

#include <cstdint>

#include "kernels/device/call.h"

namespace nodecomm::kernels {

// Calls body(i) for this thread's packets of `packets`, until one returns false. False: one has.
template <class Machine, class Body>
NODECOMM_KERNEL_FN bool ForEachPacket(Lane lane, uint32_t packets, const Body& body) {
  if constexpr (Machine::kOnePacketALane) {
    return lane.first >= packets || body(lane.first);
  } else {
    for (uint32_t i = lane.first; i < packets; i += lane.step) {
      if (!body(i)) return false;
    }
    return true;
  }
}

// A value from one ForEachPacket to the next.
template <class Machine, class T>
class Kept {
 public:
  NODECOMM_KERNEL_FN void Put(const T& value) {
    if constexpr (Machine::kOnePacketALane) value_ = value;
  }
  // `again` makes the same value.
  template <class Again>
  NODECOMM_KERNEL_FN T Get(const Again& again) const {
    if constexpr (Machine::kOnePacketALane) return value_;
    return again();
  }

 private:
  T value_ = {};
};

}  // namespace nodecomm::kernels
