// Clearing the half of a plane that this call does not use, so that no epoch of 2^32 calls ago is
// ever taken for this one. Not part of normal calls: see IsScrubEpoch (call.h).
#pragma once

#include "kernels/device/call.h"

namespace nodecomm::kernels {

// Clears, of our own plane, the packets of `lane` in the other parity's halves.
//
// Ordering: that half was read last by our previous call, which has finished. Peers write it next
// in the call after this one, which they begin only when every packet of ours in this call has
// reached them; the caller makes every thread's clearing precede every packet of its block (a block
// barrier and a fence between), and every block has a packet.
template <class Machine>
NODECOMM_KERNEL_FN void ClearOtherHalf(const Call& call, uint32_t epoch, Lane lane) {
  const uint64_t other = 1u - (epoch & 1u);
  std::byte* plane = call.planes[call.rank];
  for (const Region& region : call.epoch_regions.region) {
    std::byte* half = plane + region.begin + other * region.half_bytes;
    for (uint64_t i = lane.first; i < region.half_bytes / kPacketBytes; i += lane.step) {
      Machine::StorePacket(half + i * kPacketBytes, Packet{{0, 0, 0, 0}});
    }
  }
}

}  // namespace nodecomm::kernels
