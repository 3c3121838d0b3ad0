// One-shot push: every rank pushes its whole message to every peer and sums what it received. One
// trip; (N-1) S bytes out. For small messages. Not for the calls' set-up (all_reduce_host.cc,
// all_reduce_cuda.cu). Design note: kernels/README.md, "ordering".
#pragma once

#include "kernels/device/await.h"
#include "kernels/device/format.h"
#include "kernels/device/payload.h"
#include "kernels/device/turn.h"

namespace nodecomm::kernels {

// What:     out[i] = sum over ranks of in[i], for the packets of `lane`.
// Shapes:   call.bytes bytes of kType elements at in and out; call.packets packets, the last
//           one padded; one slot a sender.
// Grid:     any, the same on every rank; every block has a packet, and a packet is taken by one
//           thread for both loops, which is what makes in-place calls safe.
// Ordering: a packet is stored and loaded as one 16-byte atom, so its data and what says that it
//           has come arrive together and no fence is needed. A slot of this parity is written again
//           two calls later, which its writer begins only after it heard from us in the call
//           between: we had finished reading (and re-arming) it then, since one kernel ends before
//           the next begins.
// Before:   the previous call on this communicator has ended.
// Failure:  returns false after GiveUp; `out` is undefined, the generation over.
template <class Machine, class Format, ElementType kType, int kRanks>
NODECOMM_KERNEL_FN bool OneShot(const Call& call, const Turn& turn, Lane lane) {
  const int self = call.rank;
  const uint32_t epoch = turn.epoch;
  for (uint32_t i = lane.first; i < call.packets; i += lane.step) {
    const Packet packet = Format::Encode(LoadPayload<kType, Format::kWords>(call, i), epoch);
    NODECOMM_UNROLL
    for (int step = 1; step < kRanks; ++step) {
      const int to = self + step < kRanks ? self + step : self + step - kRanks;
      Machine::StorePacket(SlotAddress(call, call.region, to, self, epoch, kRanks, i), packet);
    }
  }
  if (!EndSending<Machine>(call, turn, kRanks)) return false;
  for (uint32_t i = lane.first; i < call.packets; i += lane.step) {
    // As the others find it: the format may change the payload of a NaN.
    const auto mine =
        Format::Decode(Format::Encode(LoadPayload<kType, Format::kWords>(call, i), epoch));
    Packet from[kRanks] = {};
    const auto slot = [&](int sender) {
      return SlotAddress(call, call.region, self, sender, epoch, kRanks, i);
    };
    if (!AwaitPackets<Machine, Format, kRanks>(call, turn, slot, from)) return false;
    StorePayload<kType>(call, i, SumInRankOrder<Machine, Format, kType, kRanks>(mine, self, from));
    RearmSlots<Machine, Format, kRanks>(self, slot);
  }
  return true;
}

}  // namespace nodecomm::kernels
