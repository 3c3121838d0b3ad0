// What the threads of a launch share out among themselves where none has more than one packet. On a
// host one thread plays the whole grid, so there it is a loop, and what a GPU's thread keeps in
// registers is looked up again. Not for messages that threads go through in several steps
// (stream.h).
#pragma once

#include <cstdint>

#include "kernels/device/call.h"

namespace nodecomm::kernels {

// A thread's way through its packets, which may be interrupted.
class Way {
 public:
  NODECOMM_KERNEL_FN explicit Way(Lane lane) : next_(lane.first) {}

  // Calls body(i) for this thread's packets of `packets`, from where it stopped. False: stopped at
  // one for which `body` returned false.
  template <class Machine, class Body>
  NODECOMM_KERNEL_FN bool Go(Lane lane, uint32_t packets, const Body& body) {
    if constexpr (Machine::kOnePacketALane) {
      return lane.first >= packets || body(lane.first);
    } else {
      for (; next_ < packets; next_ += lane.step) {
        if (!body(next_)) return false;
      }
      return true;
    }
  }

 private:
  uint32_t next_;
};

// How far behind the slot of a thread's first packet that of its packet `i` lies.
template <class Machine, int kRanks>
NODECOMM_KERNEL_FN uint64_t SlotBehindFirst(Lane lane, uint32_t i) {
  if constexpr (Machine::kOnePacketALane) return 0;
  return SlotOffset<kRanks>(i) - SlotOffset<kRanks>(lane.first);
}

// What a thread's only packet needs, made before and kept. Made for a thread without a packet, too:
// what is loaded without a branch is under way together with what comes after it.
template <class Machine, class T>
class Kept {
 public:
  template <class Make>
  NODECOMM_KERNEL_FN void Prepare(Lane lane, const Make& make) {
    if constexpr (Machine::kOnePacketALane) value_ = make(lane.first);
  }
  // The same value.
  template <class Make>
  NODECOMM_KERNEL_FN T& Get(uint32_t i, const Make& make) {
    if constexpr (!Machine::kOnePacketALane) value_ = make(i);
    return value_;
  }

 private:
  T value_{};
};

}  // namespace nodecomm::kernels
