// One-shot push of large messages: as one_shot.h, each thread going through the message packet by
// packet, a few ahead of what it has received. For two ranks, where it moves no more bytes than
// two-shot. Not for the calls' set-up (all_reduce_host.cc, all_reduce_cuda.cc). Design note:
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

// What:     out[i] = sum over ranks of in[i], for the packets of `lane`.
// Shapes:   call.bytes bytes of kType elements at in and out; call.packets packets, the last one
//           padded, in call.chunks chunks that take turns with the region's parts.
// Grid:     the same on every rank; every block has a packet. A packet is taken by one thread, who
//           sends it before it stores the sum: in-place calls are safe.
// Ordering: within a chunk as one-shot; a slot is re-armed by who has read it. Between chunks of
//           the same part by credits (credit.h), before the launch's end too: the next launch
//           sends its first packets before it has heard anything.
// Before:   addresses need nothing. From Prepare on: the previous call on this communicator has
//           ended.
// Failure:  none by itself; who gives up while Advance returns false leaves `out` undefined.
template <class Machine, ElementType kType, int kRanks, Code kCode>
class OneShotStream {
 public:
  static constexpr bool kMayTakeSeveralChunks = true;
  static constexpr Code kHasCode = kCode;

  NODECOMM_KERNEL_FN OneShotStream(const Call& call, Lane lane) : call_(call), lane_(lane) {}

  // Once the call before has ended: starts to load this rank's own data, for which nobody has to
  // know the epoch.
  NODECOMM_KERNEL_FN void Prepare() {
    if constexpr (!kKeeps) return;
    Cursor at(lane_, 0);
    NODECOMM_UNROLL
    for (uint32_t i = 0; i < kOneShotAhead; ++i) {
      // Zeros behind the end.
      under_way_.Exchange(AsPacket(Load(at)));
      at.Advance(call_, lane_);
    }
  }

  // Sends what needs no waiting.
  NODECOMM_KERNEL_FN void Start(const Turn& turn) {
    turn_ = turn;
    sending_ = receiving_ = Cursor(lane_, FirstEpoch(turn));
    const uint32_t ahead = Ahead<Machine>(call_, kOneShotAhead);
    NODECOMM_UNROLL
    for (uint32_t i = 0; i < ahead; ++i) {
      // Needs no credit: EndsWithCredit.
      const Packet packet = kKeeps ? Encode(AsData(under_way_.Oldest())) : Encoded(sending_);
      if (!sending_.AtEnd(call_)) Send(packet);
      under_way_.Exchange(packet);
      sending_.Advance(call_, lane_);
    }
    if constexpr (kKeeps) next_ = Load(sending_);
  }

  // Goes on until all is done, or, with false, until something has not come for a while.
  NODECOMM_KERNEL_FN bool Advance() {
    while (!receiving_.AtEnd(call_)) {
      if (!has_sent_) {
        if (!sending_.AtEnd(call_)) {
          if (!MaySend()) return false;
          newest_ = kKeeps ? Encode(next_) : Encoded(sending_);
          Send(newest_);
        }
        sending_.Advance(call_, lane_);
        if constexpr (kKeeps) next_ = Load(sending_);
        has_sent_ = true;
      }
      Packets packets(call_.rank);
      std::byte* slots = OwnPlane(call_) + OffsetIn<kRanks>(call_.region, receiving_.slot_index()) +
                         PartOffset(call_.region, receiving_.epoch());
      if (!SpinForStreamed(receiving_.epoch(), slots, packets, &awaited_)) return false;
      has_sent_ = false;
      packets.RearmAt(slots);
      const Packet oldest = under_way_.Exchange(newest_);
      packets.PutOwn(kKeeps ? oldest : Encoded(receiving_));
      StorePayload<kType, kCode>(call_, receiving_.index(), SumOf<Machine, kType, kRanks>(packets));
      const Cursor received = receiving_;
      if (receiving_.Advance(call_, lane_) && IsCreditWanted(call_, lane_, received.chunk())) {
        GiveCredit<Machine, kRanks>(call_, received.epoch());
      }
    }
    return !EndsWithCredit(call_, lane_) || HasCredit(ChunkOfLastCredit(call_, lane_));
  }

  // For what, after Advance has returned false.
  NODECOMM_KERNEL_FN const Awaited& awaited() const { return awaited_; }

 private:
  using Packets = RankPackets<Machine, kRanks>;
  static_assert(sizeof(Payload) == sizeof(Packet));
  // Whether what is under way is kept, in registers; else it is loaded again.
  static constexpr bool kKeeps = Machine::kOnePacketALane;

  NODECOMM_KERNEL_FN Payload Load(const Cursor& at) const {
    return LoadPayload<Machine, kType, kCode>(call_, at.index());
  }

  NODECOMM_KERNEL_FN Packet Encoded(const Cursor& at) const { return Encode(Load(at)); }

  NODECOMM_KERNEL_FN bool MaySend() {
    return sending_.chunk() < kRegionParts || !sending_.BeginsChunk(lane_) ||
           HasCredit(sending_.chunk() - kRegionParts);
  }
  NODECOMM_KERNEL_FN bool HasCredit(uint32_t chunk) {
    return SpinForCredit<Machine, kRanks>(call_, EpochAfter(FirstEpoch(turn_), chunk), &awaited_);
  }

  NODECOMM_KERNEL_FN void Send(const Packet& packet) const {
    const uint64_t offset = OffsetOut<kRanks>(call_, call_.region, sending_.slot_index()) +
                            PartOffset(call_.region, sending_.epoch());
    NODECOMM_UNROLL
    for (int step = 1; step < kRanks; ++step) {
      Machine::StorePacket(call_.planes[step] + offset, packet);
    }
  }

  // A packet that Prepare has loaded is not yet encoded: that would be to wait for the load.
  NODECOMM_KERNEL_FN static Packet AsPacket(const Payload& data) {
    return {{data.word[0], data.word[1], data.word[2], data.word[3]}};
  }
  NODECOMM_KERNEL_FN static Payload AsData(const Packet& packet) {
    return {{packet.word[0], packet.word[1], packet.word[2], packet.word[3]}};
  }

  const Call& call_;
  const Lane lane_;
  Turn turn_ = {};
  Cursor sending_{lane_, 0};
  Cursor receiving_{lane_, 0};
  // For the packet that is being received, the one ahead has been sent: newest_.
  bool has_sent_ = false;
  Packet newest_ = {};
  // This rank's own data behind it, under way while the loop waits.
  Payload next_ = {};
  Awaited awaited_;
  // What has been sent and not yet summed.
  Queue<Packet, kOneShotAhead> under_way_;
};

}  // namespace nodecomm::kernels
