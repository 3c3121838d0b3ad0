// One-shot push: every rank pushes its whole message to every peer and sums what it received. One
// trip; (N-1) S bytes out. For small messages. Not for large ones (one_shot_stream.h), nor for the
// calls' set-up (all_reduce_host.cc, all_reduce_cuda.cc). Design note: kernels/README.md, "why it
// is right".
#pragma once

#include "kernels/device/await.h"
#include "kernels/device/format.h"
#include "kernels/device/lanes.h"
#include "kernels/device/payload.h"
#include "kernels/device/sum.h"
#include "kernels/device/turn.h"

namespace nodecomm::kernels {

// What:     out[i] = sum over ranks of in[i], for the packets of `lane`.
// Shapes:   call.bytes bytes of kType elements at in and out; call.packets packets, the last
//           one padded; one slot a sender, in the part of the call's epoch.
// Grid:     the same on every rank; every block has a packet, and on a GPU no thread more than one.
// Ordering: a packet is stored and loaded as one 16-byte atom, so its data and what says that it
//           has come arrive together and no fence is needed. A slot is written again four epochs
//           later. Where that is two calls or more, its writer begins that call only after it heard
//           from us in the one between: we had read and re-armed the slot then, since one kernel
//           ends before the next begins. Where the call before was a stream, which takes an epoch a
//           chunk, of so many chunks, it ended with our credit for that part (EndsWithCredit).
// Before:   addresses need nothing. From Prepare on: the previous call on this communicator has
//           ended.
// Failure:  none by itself; who gives up while Advance returns false leaves `out` undefined.
template <class Machine, ElementType kType, int kRanks, Code kCode>
class OneShot {
 public:
  static constexpr bool kMayTakeSeveralChunks = false;
  static constexpr Code kHasCode = kCode;

  NODECOMM_KERNEL_FN OneShot(const Call& call, Lane lane)
      : call_(call), lane_(lane), out_(OffsetOut<kRanks>(call, call.region, lane.first)) {
    Machine::KeepReady(out_);
  }

  // Once the call before has ended: starts to load this rank's own data, for which nobody has to
  // know the epoch.
  NODECOMM_KERNEL_FN void Prepare() { mine_.Prepare(lane_, Load()); }

  // Sends what needs no waiting.
  NODECOMM_KERNEL_FN void Start(const Turn& turn) {
    found_ = turn.found;
    part_ = FirstPartOffset(call_.region, turn);
    Way(lane_).Go<Machine>(lane_, call_.packets, [&](uint32_t i) {
      const Packet packet = Encode(mine_.Get(i, Load()));
      NODECOMM_UNROLL
      for (int step = 1; step < kRanks; ++step) {
        Machine::StorePacket(
            call_.planes[step] + out_ + part_ + SlotBehindFirst<Machine, kRanks>(lane_, i), packet);
      }
      return true;
    });
    packets_.Prepare(lane_, Own());
  }

  // Goes on until all is done, or, with false, until something has not come for a while.
  NODECOMM_KERNEL_FN bool Advance() {
    return receiving_.template Go<Machine>(lane_, call_.packets, [&](uint32_t i) {
      Packets& packets = packets_.Get(i, Own());
      std::byte* slots = OwnPlane(call_) + OffsetIn<kRanks>(call_.region, i) + part_;
      if (!SpinForPackets(Group(), NextEpoch(found_), slots, packets, &awaited_)) return false;
      Machine::AllowNextKernel();
      StorePayload<kType, kCode>(call_, i, SumOf<Machine, kType, kRanks>(packets));
      packets.RearmAt(slots);
      return true;
    });
  }

  // For what, after Advance has returned false.
  NODECOMM_KERNEL_FN const Awaited& awaited() const { return awaited_; }

 private:
  using Packets = RankPackets<Machine, kRanks>;

  // The lean code behind the wait is so short that a vote in every turn costs more than it brings,
  // but between two ranks: the assembler lets the threads of a warp meet behind the loop anyhow.
  NODECOMM_KERNEL_FN static auto Group() {
    if constexpr (kCode == Code::kLean && kRanks > 2) {
      return Alone();
    } else {
      return Machine::Together();
    }
  }

  NODECOMM_KERNEL_FN auto Load() const {
    return [this](uint32_t i) { return LoadPayload<Machine, kType, kCode>(call_, i); };
  }
  NODECOMM_KERNEL_FN auto Own() {
    return [this](uint32_t i) {
      Packets packets(call_.rank);
      packets.PutOwn(Encode(mine_.Get(i, Load())));
      return packets;
    };
  }

  const Call& call_;
  const Lane lane_;
  uint32_t found_ = 0;
  uint32_t part_ = 0;
  Way receiving_{lane_};
  Awaited awaited_;
  // Where this thread's first packet goes, in the first part.
  uint64_t out_;
  Kept<Machine, Payload> mine_;
  Kept<Machine, Packets> packets_;
};

}  // namespace nodecomm::kernels
