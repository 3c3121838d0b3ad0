// Two-shot push: reduce-scatter, then all-gather, both pushed. Two trips; 2 (N-1)/N S bytes out.
// For everything that is not small. Not for the calls' set-up (all_reduce_host.cc,
// all_reduce_cuda.cu). Design note: kernels/README.md, "ordering".
#pragma once

#include "kernels/device/await.h"
#include "kernels/device/format.h"
#include "kernels/device/payload.h"
#include "kernels/device/turn.h"

namespace nodecomm::kernels {

// What:     rank r sums shard r (packets r*P to r*P + P - 1, P = call.packets) and sends the sums
//           to everybody.
// Shapes:   call.bytes bytes of kType elements at in and out. The last shards may lie beyond the
//           end: their packets are sent all the same, empty, so that every rank hears from every
//           other in both phases of every call, which double buffering rests on.
// Grid:     any, the same on every rank; every block has a packet. A thread takes the same index of
//           every shard in all three loops, which is what makes in-place calls safe.
// Ordering: as one-shot, for each of the two regions. Nothing orders the loops of different
//           threads, nor needs to: each waits for the packets it reads. A thread sends all its
//           scatter packets before it waits for any, so blocks that are not yet running cannot hold
//           up those that are, as long as GPUs start blocks in order.
// Before:   the previous call on this communicator has ended.
// Failure:  returns false after GiveUp; `out` is undefined, the generation over.
template <class Machine, class Format, ElementType kType, int kRanks>
NODECOMM_KERNEL_FN bool TwoShot(const Call& call, const Turn& turn, Lane lane) {
  const int self = call.rank;
  const uint32_t epoch = turn.epoch;
  const uint64_t shard = call.packets;
  for (uint32_t i = lane.first; i < call.packets; i += lane.step) {
    NODECOMM_UNROLL
    for (int step = 1; step < kRanks; ++step) {
      const int to = self + step < kRanks ? self + step : self + step - kRanks;
      const auto theirs = LoadPayload<kType, Format::kWords>(call, to * shard + i);
      Machine::StorePacket(SlotAddress(call, call.region, to, self, epoch, kRanks, i),
                           Format::Encode(theirs, epoch));
    }
  }
  if (!EndSending<Machine>(call, turn, kRanks)) return false;
  for (uint32_t i = lane.first; i < call.packets; i += lane.step) {
    const auto mine = LoadPayload<kType, Format::kWords>(call, self * shard + i);
    Packet from[kRanks] = {};
    const auto slot = [&](int sender) {
      return SlotAddress(call, call.region, self, sender, epoch, kRanks, i);
    };
    if (!AwaitPackets<Machine, Format, kRanks>(call, turn, slot, from)) return false;
    const auto sum = SumInRankOrder<Machine, Format, kType, kRanks>(mine, self, from);
    const Packet packet = Format::Encode(sum, epoch);
    NODECOMM_UNROLL
    for (int step = 1; step < kRanks; ++step) {
      const int to = self + step < kRanks ? self + step : self + step - kRanks;
      Machine::StorePacket(SlotAddress(call, call.gather_region, to, self, epoch, kRanks, i),
                           packet);
    }
    // As the others will find it: the format may change the payload of a NaN.
    StorePayload<kType>(call, self * shard + i, Format::Decode(packet));
    RearmSlots<Machine, Format, kRanks>(self, slot);
  }
  for (uint32_t i = lane.first; i < call.packets; i += lane.step) {
    Packet from[kRanks] = {};
    const auto slot = [&](int sender) {
      return SlotAddress(call, call.gather_region, self, sender, epoch, kRanks, i);
    };
    if (!AwaitPackets<Machine, Format, kRanks>(call, turn, slot, from)) return false;
    NODECOMM_UNROLL
    for (int r = 0; r < kRanks; ++r) {
      if (r != self) StorePayload<kType>(call, r * shard + i, Format::Decode(from[r]));
    }
    RearmSlots<Machine, Format, kRanks>(self, slot);
  }
  return true;
}

}  // namespace nodecomm::kernels
