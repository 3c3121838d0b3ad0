// Two-shot push: reduce-scatter, then all-gather, both pushed. Two trips; 2 (N-1)/N S bytes out.
// For messages of medium size. Not for large ones (two_shot_stream.h), nor for the calls' set-up
// (all_reduce_host.cc, all_reduce_cuda.cu). Design note: kernels/README.md, "why it is right".
#pragma once

#include "kernels/device/await.h"
#include "kernels/device/format.h"
#include "kernels/device/lanes.h"
#include "kernels/device/payload.h"
#include "kernels/device/sum.h"
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
// Before:   the previous call on this communicator has ended.
// Failure:  none by itself; who gives up while Advance returns false leaves `out` undefined.
template <class Machine, ElementType kType, int kRanks, Code kCode>
class TwoShot {
 public:
  static constexpr bool kMayTakeSeveralChunks = false;

  NODECOMM_KERNEL_FN TwoShot(const Call& call, Lane lane) : call_(call), lane_(lane) {}

  // Once the call before has ended: starts to load this rank's own data, for which nobody has to
  // know the epoch.
  NODECOMM_KERNEL_FN void Prepare() { theirs_.Prepare(lane_, LoadTheirs()); }

  // Sends what needs no waiting.
  NODECOMM_KERNEL_FN void Start(const Turn& turn) {
    epoch_ = turn.epoch;
    Way(lane_).Go<Machine>(lane_, call_.packets, [&](uint32_t i) {
      const Theirs theirs = theirs_.Get(i, LoadTheirs());
      NODECOMM_UNROLL
      for (int to = 0; to < kPeers; ++to) {
        Machine::StorePacket(SlotTo(call_.region, to, i), Encode(theirs.in_order[to]));
      }
      return true;
    });
  }

  // Goes on until all is done, or, with false, until something has not come for a while.
  NODECOMM_KERNEL_FN bool Advance() {
    if (!has_summed_) {
      if (!summing_.template Go<Machine>(lane_, call_.packets,
                                         [&](uint32_t i) { return Sum(i); })) {
        return false;
      }
      has_summed_ = true;
    }
    return gathering_.template Go<Machine>(lane_, call_.packets,
                                           [&](uint32_t i) { return Gather(i); });
  }

  // For what, after Advance has returned false.
  NODECOMM_KERNEL_FN const Awaited& awaited() const { return awaited_; }

 private:
  static constexpr int kPeers = kRanks - 1;
  // A packet's data of every peer's shard, in the order of sending.
  struct Theirs {
    Payload in_order[kPeers];
  };

  NODECOMM_KERNEL_FN bool Sum(uint32_t i) {
    const Payload mine = Load(call_.rank, i);
    Packet from[kPeers];
    if (!Spin(call_.region, i, from)) return false;
    const Payload sum = SumInRankOrder<Machine, kType, kPeers>(mine, call_.rank, from);
    const Packet packet = Encode(sum);
    NODECOMM_UNROLL
    for (int to = 0; to < kPeers; ++to) {
      Machine::StorePacket(SlotTo(call_.gather_region, to, i), packet);
    }
    // As the others will find it: the format may change the payload of a NaN.
    Store(call_.rank, i, Decode(packet));
    Rearm(call_.region, i);
    return true;
  }
  NODECOMM_KERNEL_FN bool Gather(uint32_t i) {
    Packet from[kPeers];
    if (!Spin(call_.gather_region, i, from)) return false;
    Machine::AllowNextKernel();
    NODECOMM_UNROLL
    for (int peer = 0; peer < kPeers; ++peer) {
      Store(RankOfPeer(call_.rank, peer), i, Decode(from[peer]));
    }
    Rearm(call_.gather_region, i);
    return true;
  }

  NODECOMM_KERNEL_FN int To(int i) const { return RankAfter(call_.rank, i + 1, kRanks); }
  NODECOMM_KERNEL_FN std::byte* SlotTo(const Region& region, int to, uint32_t i) const {
    return SlotAt(call_, region, To(to)) + Offset(region, i);
  }
  NODECOMM_KERNEL_FN bool Spin(const Region& region, uint32_t i, Packet (&from)[kPeers]) {
    const uint64_t offset = Offset(region, i);
    const auto address = [&](int peer) { return SlotFrom(call_, region, peer) + offset; };
    return SpinForPackets<Machine, kPeers>(call_, epoch_, address, from, &awaited_);
  }
  NODECOMM_KERNEL_FN void Rearm(const Region& region, uint32_t i) {
    const uint64_t offset = Offset(region, i);
    RearmSlots<Machine, kPeers>([&](int peer) { return SlotFrom(call_, region, peer) + offset; });
  }
  NODECOMM_KERNEL_FN uint64_t Offset(const Region& region, uint32_t i) const {
    return PartOffset(region, epoch_) + PacketOffset(i);
  }

  NODECOMM_KERNEL_FN auto LoadTheirs() const {
    return [this](uint32_t i) {
      Theirs theirs;
      NODECOMM_UNROLL
      for (int to = 0; to < kPeers; ++to) theirs.in_order[to] = Load(To(to), i);
      return theirs;
    };
  }
  NODECOMM_KERNEL_FN uint32_t InShard(int shard, uint32_t i) const {
    return static_cast<uint32_t>(shard) * call_.packets + i;
  }
  NODECOMM_KERNEL_FN Payload Load(int shard, uint32_t i) const {
    return LoadPayload<Machine, kType, kCode>(call_, InShard(shard, i));
  }
  NODECOMM_KERNEL_FN void Store(int shard, uint32_t i, const Payload& sum) const {
    StorePayload<kType, kCode>(call_, InShard(shard, i), sum);
  }

  const Call& call_;
  const Lane lane_;
  uint32_t epoch_ = 0;
  Way summing_{lane_};
  Way gathering_{lane_};
  bool has_summed_ = false;
  Awaited awaited_;
  Kept<Machine, Theirs> theirs_;
};

}  // namespace nodecomm::kernels
