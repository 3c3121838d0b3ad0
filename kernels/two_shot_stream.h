// Two-shot push of large messages: as two_shot.h, each thread going through the shards packet by
// packet, both trips under way at once. Two ranks need it only where they are told to take two
// trips. Not for the calls' set-up (all_reduce_host.cc, all_reduce_cuda.cc). Design note:
// kernels/README.md, "why it is right", "chunks".
#pragma once

#include "kernels/device/await.h"
#include "kernels/device/credit.h"
#include "kernels/device/format.h"
#include "kernels/device/payload.h"
#include "kernels/device/stream.h"
#include "kernels/device/sum.h"
#include "kernels/device/turn.h"

namespace nodecomm::kernels {

// What:     rank r sums shard r (packets r*P to r*P + P - 1, P = call.packets) and sends the sums
//           to everybody.
// Shapes:   as two-shot; a chunk is the same part of every shard. call.chunks chunks take turns
//           with the parts of both regions.
// Grid:     the same on every rank; every block has a packet. A thread takes the same index of
//           every shard, and has sent a shard's packet before it stores the sum there: in-place
//           calls are safe.
// Ordering: within a chunk as two-shot; a slot is re-armed by who has read it. Between chunks of
//           the same part by credits (credit.h), before the launch's end too: the next launch
//           sends its first packets before it has heard anything.
// Before:   the previous call on this communicator has ended.
// Failure:  none by itself; who gives up while Advance returns false leaves `out` undefined.
template <class Machine, ElementType kType, int kRanks, Code kCode>
class TwoShotStream {
 public:
  static constexpr bool kMayTakeSeveralChunks = true;
  static constexpr Code kHasCode = kCode;

  NODECOMM_KERNEL_FN TwoShotStream(const Call& call, Lane lane) : call_(call), lane_(lane) {}

  // Once the call before has ended: starts to load this rank's own data, for which nobody has to
  // know the epoch.
  NODECOMM_KERNEL_FN void Prepare() {
    if constexpr (kPrepares) {
      const Cursor first(lane_, 0);
      if (first.AtEnd(call_)) return;
      NODECOMM_UNROLL
      for (int to = 0; to < kPeers; ++to) first_[to] = Load(To(to), first);
    }
  }

  // Sends what needs no waiting.
  NODECOMM_KERNEL_FN void Start(const Turn& turn) {
    turn_ = turn;
    scattering_ = summing_ = gathering_ = Cursor(lane_, FirstEpoch(turn));
    ahead_ = Ahead<Machine>(call_, kUnheardMax - 1);
    // Needs no credit: EndsWithCredit.
    if (!scattering_.AtEnd(call_)) {
      Scatter([&](int to) { return kPrepares ? first_[to] : Load(To(to), scattering_); });
    }
  }

  // Goes on until all is done, or, with false, until something has not come for a while. The second
  // trip of a packet comes kGatherBehind packets later than its first.
  NODECOMM_KERNEL_FN bool Advance() {
    while (!gathering_.AtEnd(call_)) {
      const bool is_time_to_gather =
          summing_.AtEnd(call_) ||
          summing_.index() - gathering_.index() > Ahead<Machine>(call_, kGatherBehind) * lane_.step;
      if (is_time_to_gather) {
        if (!Gather()) return false;
        continue;
      }
      NODECOMM_KEEP_ROLLED
      while (!scattering_.AtEnd(call_) &&
             scattering_.index() - summing_.index() <= ahead_ * lane_.step) {
        if (!MayScatter()) return false;
        Scatter([&](int to) { return Load(To(to), scattering_); });
      }
      if (!Sum()) return false;
    }
    return !EndsWithCredit(call_, lane_) || HasCredit(ChunkOfLastCredit(call_, lane_));
  }

  // For what, after Advance has returned false.
  NODECOMM_KERNEL_FN const Awaited& awaited() const { return awaited_; }

 private:
  using Packets = RankPackets<Machine, kRanks>;
  static constexpr int kPeers = kRanks - 1;
  // With more peers there are no registers for it.
  static constexpr bool kPrepares = Machine::kOnePacketALane && kRanks <= 5;

  NODECOMM_KERNEL_FN bool MayScatter() {
    return scattering_.chunk() < kRegionParts || !scattering_.BeginsChunk(lane_) ||
           HasCredit(scattering_.chunk() - kRegionParts);
  }
  NODECOMM_KERNEL_FN bool HasCredit(uint32_t chunk) {
    return SpinForCredit<Machine, kRanks>(call_, EpochAfter(FirstEpoch(turn_), chunk), &awaited_);
  }

  // `data_of(to)`: of each peer's shard, in the order of sending.
  template <class DataOf>
  NODECOMM_KERNEL_FN void Scatter(const DataOf& data_of) {
    const uint64_t offset = Out(call_.region, scattering_);
    NODECOMM_UNROLL
    for (int to = 0; to < kPeers; ++to) {
      Machine::StorePacket(call_.planes[to + 1] + offset, Encode(data_of(to)));
    }
    scattering_.Advance(call_, lane_);
  }

  NODECOMM_KERNEL_FN bool Sum() {
    const Payload mine = Load(call_.rank, summing_);
    Packets packets(call_.rank);
    if (!Take(call_.region, summing_, packets)) return false;
    packets.PutOwn(Encode(mine));
    const Packet packet = Encode(SumOf<Machine, kType, kRanks>(packets));
    const uint64_t offset = Out(call_.gather_region, summing_);
    NODECOMM_UNROLL
    for (int to = 0; to < kPeers; ++to) {
      Machine::StorePacket(call_.planes[to + 1] + offset, packet);
    }
    // As the others will find it: the format may change the payload of a NaN.
    Store(call_.rank, summing_, Decode(packet));
    summing_.Advance(call_, lane_);
    // All peers have been heard.
    ahead_ = Ahead<Machine>(call_, kTwoShotAhead);
    return true;
  }

  NODECOMM_KERNEL_FN bool Gather() {
    Packets packets(call_.rank);
    if (!Take(call_.gather_region, gathering_, packets)) return false;
    NODECOMM_UNROLL
    for (int place = 0; place < Packets::kPeerPlaces; ++place) {
      if (packets.IsPeer(place)) Store(packets.RankAt(place), gathering_, Decode(packets[place]));
    }
    const Cursor gathered = gathering_;
    if (gathering_.Advance(call_, lane_) && IsCreditWanted(call_, lane_, gathered.chunk())) {
      GiveCredit<Machine, kRanks>(call_, gathered.epoch());
    }
    return true;
  }

  // Waits a while for the peers' packets and re-arms their slots.
  NODECOMM_KERNEL_FN bool Take(const Region& region, const Cursor& at, Packets& packets) {
    std::byte* slots = OwnPlane(call_) + OffsetIn<kRanks>(region, at.slot_index()) +
                       PartOffset(region, at.epoch());
    if (!SpinForStreamed(at.epoch(), slots, packets, &awaited_)) return false;
    packets.RearmAt(slots);
    return true;
  }

  NODECOMM_KERNEL_FN int To(int i) const { return RankAfter(call_.rank, i + 1, kRanks); }
  NODECOMM_KERNEL_FN uint64_t Out(const Region& region, const Cursor& at) const {
    return OffsetOut<kRanks>(call_, region, at.slot_index()) + PartOffset(region, at.epoch());
  }
  NODECOMM_KERNEL_FN uint32_t InShard(int shard, const Cursor& at) const {
    return static_cast<uint32_t>(shard) * call_.packets + at.index();
  }
  NODECOMM_KERNEL_FN Payload Load(int shard, const Cursor& at) const {
    return LoadPayload<Machine, kType, kCode>(call_, InShard(shard, at));
  }
  NODECOMM_KERNEL_FN void Store(int shard, const Cursor& at, const Payload& sum) const {
    StorePayload<kType, kCode>(call_, InShard(shard, at), sum);
  }

  const Call& call_;
  const Lane lane_;
  Turn turn_ = {};
  Cursor scattering_{lane_, 0};
  Cursor summing_{lane_, 0};
  Cursor gathering_{lane_, 0};
  uint32_t ahead_ = 0;
  Awaited awaited_;
  Payload first_[kPeers] = {};
};

}  // namespace nodecomm::kernels
