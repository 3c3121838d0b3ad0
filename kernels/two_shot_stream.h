// Two-shot push of large messages: as two_shot.h, in packets with sentinels, each thread going
// through the shards packet by packet, both trips under way at once. For more than two ranks. Not
// for the calls' set-up (all_reduce_host.cc, all_reduce_cuda.cu). Design note: kernels/README.md,
// "why it is right", "chunks".
#pragma once

#include "kernels/device/await.h"
#include "kernels/device/credit.h"
#include "kernels/device/format.h"
#include "kernels/device/payload.h"
#include "kernels/device/scrub.h"
#include "kernels/device/stream.h"
#include "kernels/device/turn.h"

namespace nodecomm::kernels {

// What:     rank r sums shard r (packets r*P to r*P + P - 1, P = call.packets) and sends the sums
//           to everybody.
// Shapes:   as two-shot; a chunk is the same part of every shard. call.chunks chunks take turns
//           with the two halves of both regions.
// Grid:     the same on every rank; every block has a packet. A thread takes the same index of
//           every shard, and has sent a shard's packet before it stores the sum there: in-place
//           calls are safe.
// Ordering: within a chunk as two-shot; a slot is re-armed by who has read it. Between chunks of
//           the same half by credits (credit.h), before the launch's end too: the next launch may
//           use the half of the last chunk but one.
// Before:   the previous call on this communicator has ended.
// Failure:  returns false after GiveUp; `out` is undefined, the generation over.
template <class Machine, ElementType kType, int kRanks, Buffers kBuffers>
class TwoShotStream {
 public:
  using Format = SentinelFormat;
  static constexpr bool kMayTakeSeveralChunks = true;
  // Of the regions of packets with epochs.
  static constexpr ScrubHalves kIdleHalves = ScrubHalves::kBoth;

  NODECOMM_KERNEL_FN TwoShotStream(const Call& call, Lane lane) : call_(call), lane_(lane) {}

  NODECOMM_KERNEL_FN bool Run(const Turn& turn) {
    Cursor scattering(lane_, turn.epoch);
    Cursor summing(lane_, turn.epoch);
    Cursor gathering(lane_, turn.epoch);
    NODECOMM_UNROLL
    for (int i = 0; i < kTwoShotAhead; ++i) {
      if (!Scatter(turn, &scattering)) return false;
    }
    if (!EndSending<Machine>(call_, turn, kRanks)) return false;
    // The second trip of a packet comes one packet later than its first.
    while (!gathering.AtEnd(call_)) {
      if (!Scatter(turn, &scattering)) return false;
      if (!summing.AtEnd(call_)) {
        if (!Sum(summing)) return false;
        const bool is_first = summing.index() == lane_.first;
        summing.Advance(call_, lane_);
        if (is_first && !summing.AtEnd(call_)) continue;
      }
      if (!Gather(gathering)) return false;
      const uint32_t epoch = gathering.epoch();
      if (gathering.Advance(call_, lane_) && epoch != turn.last_epoch) {
        GiveCredit<Machine, kRanks>(call_, epoch);
      }
    }
    if (lane_.first < call_.packets) Machine::AllowNextKernel();
    return call_.chunks == 1 ||
           AwaitCredit<Machine, kRanks>(call_, EpochAfter(turn.epoch, call_.chunks - 2));
  }

 private:
  // Nothing, if all has been sent.
  NODECOMM_KERNEL_FN bool Scatter(const Turn& turn, Cursor* at) {
    if (at->AtEnd(call_)) return true;
    if (at->chunk() >= 2 && at->BeginsChunk(lane_) &&
        !AwaitCredit<Machine, kRanks>(call_, EpochAfter(turn.epoch, at->chunk() - 2))) {
      return false;
    }
    NODECOMM_UNROLL
    for (int step = 1; step < kRanks; ++step) {
      const int to = RankAfter(call_.rank, step, kRanks);
      Machine::StorePacket(Slot(call_.region, to, call_.rank, *at),
                           Format::Encode(Load(to, *at), at->epoch()));
    }
    at->Advance(call_, lane_);
    return true;
  }

  NODECOMM_KERNEL_FN bool Sum(const Cursor& at) {
    const int self = call_.rank;
    const auto mine = Load(self, at);
    const auto address = [&](int sender) { return Slot(call_.region, self, sender, at); };
    Packet from[kRanks] = {};
    if (!AwaitPackets<Machine, Format, kRanks>(call_, at.epoch(), address, from)) return false;
    RearmSlots<Machine, Format, kRanks>(self, address);
    const Packet packet = Format::Encode(
        SumInRankOrder<Machine, Format, kType, kRanks>(mine, self, from), at.epoch());
    NODECOMM_UNROLL
    for (int step = 1; step < kRanks; ++step) {
      const int to = RankAfter(self, step, kRanks);
      Machine::StorePacket(Slot(call_.gather_region, to, self, at), packet);
    }
    // As the others will find it: the format may change the payload of a NaN.
    Store(self, at, Format::Decode(packet));
    return true;
  }

  NODECOMM_KERNEL_FN bool Gather(const Cursor& at) {
    const int self = call_.rank;
    const auto address = [&](int sender) { return Slot(call_.gather_region, self, sender, at); };
    Packet from[kRanks] = {};
    if (!AwaitPackets<Machine, Format, kRanks>(call_, at.epoch(), address, from)) return false;
    RearmSlots<Machine, Format, kRanks>(self, address);
    NODECOMM_UNROLL
    for (int r = 0; r < kRanks; ++r) {
      if (r != self) Store(r, at, Format::Decode(from[r]));
    }
    return true;
  }

  NODECOMM_KERNEL_FN std::byte* Slot(const Region& region, int to, int from,
                                     const Cursor& at) const {
    return SlotOf(call_, region, to, from) + HalfOffset(region, at.epoch()) +
           PacketOffset(at.slot_index());
  }
  NODECOMM_KERNEL_FN uint64_t InShard(int shard, const Cursor& at) const {
    return static_cast<uint64_t>(shard) * call_.packets + at.index();
  }
  NODECOMM_KERNEL_FN Payload<Format::kWords> Load(int shard, const Cursor& at) const {
    return LoadPayload<kType, Format::kWords, kBuffers>(call_, InShard(shard, at));
  }
  NODECOMM_KERNEL_FN void Store(int shard, const Cursor& at,
                                const Payload<Format::kWords>& sum) const {
    StorePayload<kType, kBuffers>(call_, InShard(shard, at), sum);
  }

  const Call& call_;
  const Lane lane_;
};

}  // namespace nodecomm::kernels
