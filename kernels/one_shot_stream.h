// One-shot push of large messages: as one_shot.h, in packets with sentinels, each thread going
// through the message packet by packet, a few ahead of what it has received. For two ranks, where
// it moves no more bytes than two-shot. Not for the calls' set-up (all_reduce_host.cc,
// all_reduce_cuda.cu). Design note: kernels/README.md, "why it is right", "chunks".
#pragma once

#include "kernels/device/await.h"
#include "kernels/device/credit.h"
#include "kernels/device/format.h"
#include "kernels/device/payload.h"
#include "kernels/device/scrub.h"
#include "kernels/device/stream.h"
#include "kernels/device/turn.h"

namespace nodecomm::kernels {

// What:     out[i] = sum over ranks of in[i], for the packets of `lane`.
// Shapes:   call.bytes bytes of kType elements at in and out; call.packets packets, the last one
//           padded, in call.chunks chunks that take turns with the two halves.
// Grid:     the same on every rank; every block has a packet. A packet is taken by one thread, who
//           sends it before it stores the sum: in-place calls are safe.
// Ordering: within a chunk as one-shot; a slot is re-armed by who has read it. Between chunks of
//           the same half by credits (credit.h), before the launch's end too: the next launch may
//           use the half of the last chunk but one.
// Before:   addresses need nothing. Run: the previous call on this communicator has ended.
// Failure:  returns false after GiveUp; `out` is undefined, the generation over.
template <class Machine, ElementType kType, int kRanks, Buffers kBuffers>
class OneShotStream {
 public:
  using Format = SentinelFormat;
  static constexpr bool kMayTakeSeveralChunks = true;
  // Of the regions of packets with epochs.
  static constexpr ScrubHalves kIdleHalves = ScrubHalves::kBoth;

  NODECOMM_KERNEL_FN OneShotStream(const Call& call, Lane lane) : call_(call), lane_(lane) {
    NODECOMM_UNROLL
    for (int r = 0; r < kRanks; ++r) {
      if (r == call.rank) continue;
      to_[r] = SlotOf(call, call.region, r, call.rank);
      from_[r] = SlotOf(call, call.region, call.rank, r);
    }
  }

  NODECOMM_KERNEL_FN bool Run(const Turn& turn) {
    Cursor sending(lane_, turn.epoch);
    Cursor receiving(lane_, turn.epoch);
    Payload<Format::kWords> sent[kOneShotAhead + 1] = {};
    NODECOMM_UNROLL
    for (int i = 0; i < kOneShotAhead; ++i) {
      if (!Send(turn, &sending, &sent[i])) return false;
    }
    if (!EndSending<Machine>(call_, turn, kRanks)) return false;
    while (!receiving.AtEnd(call_)) {
      if (!Send(turn, &sending, &sent[kOneShotAhead])) return false;
      if (!Receive(receiving, sent[0])) return false;
      NODECOMM_UNROLL
      for (int i = 0; i < kOneShotAhead; ++i) sent[i] = sent[i + 1];
      const uint32_t epoch = receiving.epoch();
      if (receiving.Advance(call_, lane_) && epoch != turn.last_epoch) {
        GiveCredit<Machine, kRanks>(call_, epoch);
      }
    }
    if (lane_.first < call_.packets) Machine::AllowNextKernel();
    return call_.chunks == 1 ||
           AwaitCredit<Machine, kRanks>(call_, EpochAfter(turn.epoch, call_.chunks - 2));
  }

 private:
  // Nothing, if all has been sent.
  NODECOMM_KERNEL_FN bool Send(const Turn& turn, Cursor* at, Payload<Format::kWords>* sent) {
    if (at->AtEnd(call_)) return true;
    if (at->chunk() >= 2 && at->BeginsChunk(lane_) &&
        !AwaitCredit<Machine, kRanks>(call_, EpochAfter(turn.epoch, at->chunk() - 2))) {
      return false;
    }
    *sent = LoadPayload<kType, Format::kWords, kBuffers>(call_, at->index());
    const Packet packet = Format::Encode(*sent, at->epoch());
    const uint64_t offset = Offset(*at);
    NODECOMM_UNROLL
    for (int step = 1; step < kRanks; ++step) {
      Machine::StorePacket(to_[RankAfter(call_.rank, step, kRanks)] + offset, packet);
    }
    at->Advance(call_, lane_);
    return true;
  }

  NODECOMM_KERNEL_FN bool Receive(const Cursor& at, const Payload<Format::kWords>& sent) {
    const uint64_t offset = Offset(at);
    const auto address = [&](int sender) { return from_[sender] + offset; };
    Packet from[kRanks] = {};
    if (!AwaitPackets<Machine, Format, kRanks>(call_, at.epoch(), address, from)) return false;
    RearmSlots<Machine, Format, kRanks>(call_.rank, address);
    // As the others find it: the format may change the payload of a NaN.
    const auto mine = Format::Decode(Format::Encode(sent, at.epoch()));
    StorePayload<kType, kBuffers>(
        call_, at.index(), SumInRankOrder<Machine, Format, kType, kRanks>(mine, call_.rank, from));
    return true;
  }

  NODECOMM_KERNEL_FN uint64_t Offset(const Cursor& at) const {
    return HalfOffset(call_.region, at.epoch()) + PacketOffset(at.slot_index());
  }

  const Call& call_;
  const Lane lane_;
  // The slots in the even half.
  std::byte* to_[kRanks];
  std::byte* from_[kRanks];
};

}  // namespace nodecomm::kernels
