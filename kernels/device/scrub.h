// Clearing what carries epochs, so that no epoch of 2^32 chunks ago is ever taken for this one.
// Not part of normal calls. Design note: kernels/README.md, "epoch wrap".
#pragma once

#include "kernels/device/call.h"

namespace nodecomm::kernels {

// Two in a row, one for each part of the region of packets with epochs; and the first after a wrap.
NODECOMM_KERNEL_FN bool IsScrubEpoch(uint32_t epoch) {
  const uint32_t low = epoch & 0x7fffffffu;
  return low == kEpochAfterWrap || low == kEpochAfterWrap + 1;
}

// A slot that one message filled and nobody since keeps its epoch, which comes round after 2^32
// chunks. So twice in that time the launches with these epochs clear the parts; it also happens at
// the fourth and fifth chunk of a group, so that it is no rare path.
NODECOMM_KERNEL_FN bool IsScrubTurn(const Turn& turn) {
  const uint32_t first = turn.epoch & 0x7fffffffu;
  const uint32_t last = turn.last_epoch & 0x7fffffffu;
  return first > last || (first <= kEpochAfterWrap + 1 && last >= kEpochAfterWrap);
}

// Clears the slots of our own plane in this epoch's part of the region of packets with epochs:
// those packets whose index is one of `lane`.
template <class Machine>
NODECOMM_KERNEL_FN void ClearPart(const Call& call, uint32_t epoch, Lane lane) {
  const Region& region = call.epoch_region;
  std::byte* const begin =
      call.planes[call.rank] + region.begin + PartOffset<kEpochParts>(region, epoch);
  NODECOMM_KEEP_ROLLED
  for (uint64_t slot = 0; slot < region.part_bytes; slot += region.slot_bytes) {
    NODECOMM_KEEP_ROLLED
    for (uint64_t i = lane.first; i < region.slot_bytes / kPacketBytes; i += lane.step) {
      Machine::StorePacket(begin + slot + i * kPacketBytes, Packet{{0, 0, 0, 0}});
    }
  }
}

// What a launch of one chunk clears at its end, when it keeps nobody waiting: the part of its
// epoch. Each thread by itself: of the packets it clears it has received those that this launch was
// sent.
//
// Ordering: peers write this part again two launches later, and credits in the next launch at the
// earliest; for either they must have heard us in the next one, so all of this one has ended.
template <class Machine>
NODECOMM_KERNEL_FN void ScrubBehind(const Call& call, const Turn& turn, Lane lane) {
  ClearPart<Machine>(call, turn.epoch, lane);
  Machine::ClearCredits(CreditsOf(call.planes[call.rank]));
}

// What a streamed launch clears before it sends: it uses no packets with epochs, and its own
// credits come while it runs.
//
// Ordering: the parts were read last by our previous launches, which have ended. Peers write them
// only in launches that they begin when every block of ours has been heard in this one, and credits
// in this one after they have heard this block. The caller makes every thread's clearing precede
// every packet of its block (a block barrier and a fence between); every block has a packet, and of
// the credits a block clears its own.
template <class Machine>
NODECOMM_KERNEL_FN void ScrubAhead(const Call& call, Lane lane) {
  NODECOMM_KEEP_ROLLED
  for (uint32_t part = 0; part < kEpochParts; ++part) ClearPart<Machine>(call, part, lane);
  Machine::ClearCredits(CreditsOf(call.planes[call.rank]));
}

}  // namespace nodecomm::kernels
