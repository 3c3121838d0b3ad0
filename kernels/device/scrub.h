// Clearing what carries epochs, so that no epoch of 2^32 chunks ago is ever taken for this one.
// Not part of normal calls. Design note: kernels/README.md, "epoch wrap".
#pragma once

#include "kernels/device/call.h"

namespace nodecomm::kernels {

NODECOMM_KERNEL_FN bool IsScrubEpoch(uint32_t epoch) {
  const uint32_t low = epoch & 0x7fffffffu;
  return low == 2 || low == 3;
}

// A slot that one large message filled and nobody since keeps its epoch, which comes round after
// 2^32 chunks. So twice in that time the launches with these epochs clear what they do not use; it
// also happens at the second and third chunk of a group, so that it is no rare path.
NODECOMM_KERNEL_FN bool IsScrubTurn(const Turn& turn) {
  const uint32_t first = turn.epoch & 0x7fffffffu;
  const uint32_t last = turn.last_epoch & 0x7fffffffu;
  return first > last || (first <= 3 && last >= 2);
}

// Clears, of our own plane, the packets of `lane` in the halves that this launch does not use, and
// the credits. `kOwnFormat`: the launch itself sends packets with epochs, so one half is in use.
//
// Ordering: the halves were read last by our previous calls, which have finished. Peers write them,
// and credits, only in launches that they begin when every block of ours has been heard in this
// one, or, the credits, in this one after they have heard this block; the caller makes every
// thread's clearing precede every packet of its block (a block barrier and a fence between), every
// block has a packet, and of the credits a block clears its own.
enum class ScrubHalves { kOther, kBoth };
template <class Machine, ScrubHalves kHalves>
NODECOMM_KERNEL_FN void Scrub(const Call& call, uint32_t epoch, Lane lane) {
  std::byte* plane = call.planes[call.rank];
  NODECOMM_KEEP_ROLLED
  for (const Region& region : call.epoch_regions.region) {
    std::byte* begin = plane + region.begin;
    uint64_t bytes = 2 * region.half_bytes;
    if constexpr (kHalves == ScrubHalves::kOther) {
      begin += HalfOffset(region, epoch + 1u);
      bytes = region.half_bytes;
    }
    NODECOMM_KEEP_ROLLED
    for (uint64_t i = lane.first; i < bytes / kPacketBytes; i += lane.step) {
      Machine::StorePacket(begin + i * kPacketBytes, Packet{{0, 0, 0, 0}});
    }
  }
  Machine::ClearCredits(CreditsOf(plane));
}

}  // namespace nodecomm::kernels
