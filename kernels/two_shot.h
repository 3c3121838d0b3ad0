// Two-shot push: reduce-scatter, then all-gather, both pushed. Two trips; 2 (N-1)/N S bytes out.
// For messages of medium size. Not for large ones (two_shot_stream.h), nor for the calls' set-up
// (all_reduce_host.cc, all_reduce_cuda.cc). Design note: kernels/README.md, "why it is right".
#pragma once

#include "kernels/device/await.h"
#include "kernels/device/format.h"
#include "kernels/device/lanes.h"
#include "kernels/device/payload.h"
#include "kernels/device/sum.h"
#include "kernels/device/turn.h"

namespace nodecomm::kernels {

// Launches of more packets a shard do not let the next kernel come before they have ended, nor do
// streams. Their blocks end at times so far apart that it would find most multiprocessors empty but
// not all, and two of its blocks would share one and finish last. Launches of 16,384 to 24,576
// packets gain by letting it come, of 28,672 neither, of 38,229 and, at four ranks, of 32,768 lose
// (1 to 2 MiB at three and four ranks, 4 x H100, 2026-11-27).
inline constexpr uint32_t kLetsNextComePackets = 24 << 10;

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
  static constexpr Code kHasCode = kCode;

  NODECOMM_KERNEL_FN TwoShot(const Call& call, Lane lane)
      : call_(call), lane_(lane), out_(OffsetOut<kRanks>(call, call.region, lane.first)) {
    Machine::KeepReady(out_);
  }

  // Once the call before has ended: starts to load this rank's own data, for which nobody has to
  // know the epoch.
  NODECOMM_KERNEL_FN void Prepare() { theirs_.Prepare(lane_, LoadTheirs()); }

  // Sends what needs no waiting.
  NODECOMM_KERNEL_FN void Start(const Turn& turn) {
    found_ = turn.found;
    const uint32_t part = FirstPartOffset(call_.region, turn);
    Way(lane_).Go<Machine>(lane_, call_.packets, [&](uint32_t i) {
      const Theirs theirs = theirs_.Get(i, LoadTheirs());
      NODECOMM_UNROLL
      for (int to = 0; to < kPeers; ++to) {
        Machine::StorePacket(
            call_.planes[to + 1] + out_ + part + SlotBehindFirst<Machine, kRanks>(lane_, i),
            Encode(theirs.in_order[to]));
      }
      return true;
    });
    mine_.Prepare(lane_, LoadMine());
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
  using Packets = RankPackets<Machine, kRanks>;
  static constexpr int kPeers = kRanks - 1;
  // A packet's data of every peer's shard, in the order of sending.
  struct Theirs {
    Payload in_order[kPeers];
  };

  NODECOMM_KERNEL_FN bool Sum(uint32_t i) {
    Packets packets(call_.rank);
    packets.PutOwn(Encode(mine_.Get(i, LoadMine())));
    std::byte* slots = Slots(call_.region, i);
    uint64_t out = OffsetOut<kRanks>(call_, call_.gather_region, i) + Part(call_.gather_region);
    Machine::KeepReady(out);
    if (!Spin(slots, packets)) return false;
    if (call_.packets <= kLetsNextComePackets) Machine::AllowNextKernel();
    const Packet packet = Encode(SumOf<Machine, kType, kRanks>(packets));
    NODECOMM_UNROLL
    for (int step = 1; step < kRanks; ++step) {
      Machine::StorePacket(call_.planes[step] + out, packet);
    }
    // As the others will find it: the format may change the payload of a NaN.
    Store(call_.rank, i, Decode(packet));
    packets.RearmAt(slots);
    return true;
  }
  NODECOMM_KERNEL_FN bool Gather(uint32_t i) {
    Packets packets(call_.rank);
    std::byte* slots = Slots(call_.gather_region, i);
    if (!Spin(slots, packets)) return false;
    NODECOMM_UNROLL
    for (int place = 0; place < Packets::kPeerPlaces; ++place) {
      if (packets.IsPeer(place)) Store(packets.RankAt(place), i, Decode(packets[place]));
    }
    packets.RearmAt(slots);
    return true;
  }

  NODECOMM_KERNEL_FN int To(int i) const { return RankAfter(call_.rank, i + 1, kRanks); }
  NODECOMM_KERNEL_FN bool Spin(const std::byte* slots, Packets& packets) {
    return SpinForPackets(Machine::Together(), NextEpoch(found_), slots, packets, &awaited_);
  }
  NODECOMM_KERNEL_FN std::byte* Slots(const Region& region, uint32_t i) const {
    return OwnPlane(call_) + OffsetIn<kRanks>(region, i) + Part(region);
  }
  NODECOMM_KERNEL_FN uint32_t Part(const Region& region) const {
    return PartOffset(region, NextEpoch(found_));
  }

  NODECOMM_KERNEL_FN auto LoadTheirs() const {
    return [this](uint32_t i) {
      Theirs theirs;
      NODECOMM_UNROLL
      for (int to = 0; to < kPeers; ++to) theirs.in_order[to] = Load(To(to), i);
      return theirs;
    };
  }
  NODECOMM_KERNEL_FN auto LoadMine() const {
    return [this](uint32_t i) { return Load(call_.rank, i); };
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
  uint32_t found_ = 0;
  Way summing_{lane_};
  Way gathering_{lane_};
  bool has_summed_ = false;
  Awaited awaited_;
  // Where this thread's first packets go, in the first part.
  uint64_t out_;
  Kept<Machine, Theirs> theirs_;
  Kept<Machine, Payload> mine_;
};

}  // namespace nodecomm::kernels
