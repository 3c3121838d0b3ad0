// One-shot push in packets with epochs: every rank pushes its whole message to every peer and sums
// what it received. One trip; (N-1) S bytes out, a third more on the wire. For small messages. Not
// for large ones (one_shot_stream.h), nor for the calls' set-up (all_reduce_host.cc,
// all_reduce_cuda.cu). Design note: kernels/README.md, "why it is right".
#pragma once

#include "kernels/device/await.h"
#include "kernels/device/format.h"
#include "kernels/device/lanes.h"
#include "kernels/device/payload.h"
#include "kernels/device/scrub.h"
#include "kernels/device/turn.h"

namespace nodecomm::kernels {

// What:     out[i] = sum over ranks of in[i], for the packets of `lane`.
// Shapes:   call.bytes bytes of kType elements at in and out; call.packets packets, the last
//           one padded; one slot a sender.
// Grid:     the same on every rank; every block has a packet, and on a GPU no thread more than one.
// Ordering: a packet is stored and loaded as one 16-byte atom, so its data and what says that it
//           has come arrive together and no fence is needed. A slot of this parity is written again
//           two calls later, which its writer begins only after it heard from us in the call
//           between: we had finished reading it then, since one kernel ends before the next begins.
// Before:   addresses need nothing. Run: the previous call on this communicator has ended.
// Failure:  returns false after GiveUp; `out` is undefined, the generation over.
template <class Machine, ElementType kType, int kRanks, Buffers kBuffers>
class OneShot {
 public:
  using Format = EpochFormat;
  static constexpr bool kMayTakeSeveralChunks = false;
  // Of the regions of packets with epochs.
  static constexpr ScrubHalves kIdleHalves = ScrubHalves::kOther;

  NODECOMM_KERNEL_FN OneShot(const Call& call, Lane lane) : call_(call), lane_(lane) {
    NODECOMM_UNROLL
    for (int r = 0; r < kRanks; ++r) {
      if (r == call.rank) continue;
      to_[r] = SlotOf(call, call.region, r, call.rank) + PacketOffset(lane.first);
      from_[r] = SlotOf(call, call.region, call.rank, r) + PacketOffset(lane.first);
    }
  }

  NODECOMM_KERNEL_FN bool Run(const Turn& turn) {
    const uint64_t half = HalfOffset(call_.region, turn.epoch);
    Kept<Machine, Payload<Format::kWords>> kept;
    ForEachPacket<Machine>(lane_, call_.packets, [&](uint32_t i) {
      const auto mine = Load(i);
      const Packet packet = Format::Encode(mine, turn.epoch);
      NODECOMM_UNROLL
      for (int step = 1; step < kRanks; ++step) {
        const int to = RankAfter(call_.rank, step, kRanks);
        Machine::StorePacket(to_[to] + half + Behind(i), packet);
      }
      kept.Put(mine);
      return true;
    });
    if (!EndSending<Machine>(call_, turn, kRanks)) return false;
    return ForEachPacket<Machine>(lane_, call_.packets, [&](uint32_t i) {
      Packet from[kRanks] = {};
      const auto address = [&](int sender) { return from_[sender] + half + Behind(i); };
      if (!AwaitPackets<Machine, Format, kRanks>(call_, turn.epoch, address, from)) return false;
      Machine::AllowNextKernel();
      const auto mine = kept.Get([&] { return Load(i); });
      StorePayload<kType, kBuffers>(
          call_, i, SumInRankOrder<Machine, Format, kType, kRanks>(mine, call_.rank, from));
      return true;
    });
  }

 private:
  NODECOMM_KERNEL_FN Payload<Format::kWords> Load(uint32_t i) const {
    return LoadPayload<kType, Format::kWords, kBuffers>(call_, i);
  }
  NODECOMM_KERNEL_FN uint64_t Behind(uint32_t i) const { return PacketOffset(i - lane_.first); }

  const Call& call_;
  const Lane lane_;
  // Of this thread's first packet, in the even half.
  std::byte* to_[kRanks];
  std::byte* from_[kRanks];
};

}  // namespace nodecomm::kernels
