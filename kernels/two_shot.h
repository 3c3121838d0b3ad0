// Two-shot push in packets with epochs: reduce-scatter, then all-gather, both pushed. Two trips;
// 2 (N-1)/N S bytes out, a third more on the wire. For messages of medium size. Not for large ones
// (two_shot_stream.h), nor for the calls' set-up (all_reduce_host.cc, all_reduce_cuda.cu). Design
// note: kernels/README.md, "why it is right".
#pragma once

#include "kernels/device/await.h"
#include "kernels/device/format.h"
#include "kernels/device/lanes.h"
#include "kernels/device/payload.h"
#include "kernels/device/scrub.h"
#include "kernels/device/turn.h"

namespace nodecomm::kernels {

// What:     rank r sums shard r (packets r*P to r*P + P - 1, P = call.packets) and sends the sums
//           to everybody.
// Shapes:   call.bytes bytes of kType elements at in and out. The last shards may lie beyond the
//           end: their packets are sent all the same, empty, so that every rank hears from every
//           other in both trips of every call, which double buffering rests on.
// Grid:     the same on every rank; every block has a packet, and on a GPU no thread more than one
//           of each shard. A thread takes the same index of every shard in both trips, which is
//           what makes in-place calls safe.
// Ordering: as one-shot, for each of the two regions. Nothing orders the trips of different
//           threads, nor needs to: each waits for the packets it reads. A thread sends its scatter
//           packets before it waits for any, so blocks that are not yet running cannot hold up
//           those that are, as long as GPUs start blocks in order.
// Before:   addresses need nothing. Run: the previous call on this communicator has ended.
// Failure:  returns false after GiveUp; `out` is undefined, the generation over.
template <class Machine, ElementType kType, int kRanks, Buffers kBuffers>
class TwoShot {
 public:
  using Format = EpochFormat;
  static constexpr bool kMayTakeSeveralChunks = false;
  // Of the regions of packets with epochs.
  static constexpr ScrubHalves kIdleHalves = ScrubHalves::kOther;

  NODECOMM_KERNEL_FN TwoShot(const Call& call, Lane lane) : call_(call), lane_(lane) {}

  NODECOMM_KERNEL_FN bool Run(const Turn& turn) {
    const int self = call_.rank;
    ForEachPacket<Machine>(lane_, call_.packets, [&](uint32_t i) {
      NODECOMM_UNROLL
      for (int step = 1; step < kRanks; ++step) {
        const int to = RankAfter(self, step, kRanks);
        Machine::StorePacket(Slot(call_.region, to, self, turn.epoch, i),
                             Format::Encode(Load(to, i), turn.epoch));
      }
      return true;
    });
    if (!EndSending<Machine>(call_, turn, kRanks)) return false;
    const bool gathered = ForEachPacket<Machine>(lane_, call_.packets, [&](uint32_t i) {
      const auto mine = Load(self, i);
      Packet from[kRanks] = {};
      const auto address = [&](int sender) {
        return Slot(call_.region, self, sender, turn.epoch, i);
      };
      if (!AwaitPackets<Machine, Format, kRanks>(call_, turn.epoch, address, from)) return false;
      const auto sum = SumInRankOrder<Machine, Format, kType, kRanks>(mine, self, from);
      const Packet packet = Format::Encode(sum, turn.epoch);
      NODECOMM_UNROLL
      for (int step = 1; step < kRanks; ++step) {
        const int to = RankAfter(self, step, kRanks);
        Machine::StorePacket(Slot(call_.gather_region, to, self, turn.epoch, i), packet);
      }
      Store(self, i, sum);
      return true;
    });
    if (!gathered) return false;
    return ForEachPacket<Machine>(lane_, call_.packets, [&](uint32_t i) {
      Packet from[kRanks] = {};
      const auto address = [&](int sender) {
        return Slot(call_.gather_region, self, sender, turn.epoch, i);
      };
      if (!AwaitPackets<Machine, Format, kRanks>(call_, turn.epoch, address, from)) return false;
      Machine::AllowNextKernel();
      NODECOMM_UNROLL
      for (int r = 0; r < kRanks; ++r) {
        if (r != self) Store(r, i, Format::Decode(from[r]));
      }
      return true;
    });
  }

 private:
  NODECOMM_KERNEL_FN std::byte* Slot(const Region& region, int to, int from, uint32_t epoch,
                                     uint32_t i) const {
    return SlotOf(call_, region, to, from) + PacketOffset(i) + HalfOffset(region, epoch);
  }
  NODECOMM_KERNEL_FN uint64_t InShard(int shard, uint32_t i) const {
    return static_cast<uint64_t>(shard) * call_.packets + i;
  }
  NODECOMM_KERNEL_FN Payload<Format::kWords> Load(int shard, uint32_t i) const {
    return LoadPayload<kType, Format::kWords, kBuffers>(call_, InShard(shard, i));
  }
  NODECOMM_KERNEL_FN void Store(int shard, uint32_t i, const Payload<Format::kWords>& sum) const {
    StorePayload<kType, kBuffers>(call_, InShard(shard, i), sum);
  }

  const Call& call_;
  const Lane lane_;
};

}  // namespace nodecomm::kernels
