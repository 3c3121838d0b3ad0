// One-shot push: every rank pushes its whole message to every peer and sums what it received. One
// trip; (N-1) S bytes out. For small messages. Not for large ones (one_shot_stream.h), nor for the
// calls' set-up (all_reduce_host.cc, all_reduce_cuda.cu). Design note: kernels/README.md, "why it
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
//           has come arrive together and no fence is needed. A slot is written again two calls
//           later or more, which its writer begins only after it heard from us in the call between:
//           we had read and re-armed it then, since one kernel ends before the next begins.
// Before:   addresses need nothing. From Prepare on: the previous call on this communicator has
//           ended.
// Failure:  none by itself; who gives up while Advance returns false leaves `out` undefined.
template <class Machine, ElementType kType, int kRanks, Code kCode>
class OneShot {
 public:
  static constexpr bool kMayTakeSeveralChunks = false;

  NODECOMM_KERNEL_FN OneShot(const Call& call, Lane lane) : call_(call), lane_(lane) {
    NODECOMM_UNROLL
    for (int i = 0; i < kPeers; ++i) {
      const int to = RankAfter(call.rank, i + 1, kRanks);
      to_[i] = SlotAt(call, call.region, to) + PacketOffset(lane.first);
      from_[i] = SlotFrom(call, call.region, i) + PacketOffset(lane.first);
      Machine::KeepReady(to_[i]);
      Machine::KeepReady(from_[i]);
    }
  }

  // Once the call before has ended: starts to load this rank's own data, for which nobody has to
  // know the epoch.
  NODECOMM_KERNEL_FN void Prepare() { mine_.Prepare(lane_, Load()); }

  // Sends what needs no waiting.
  NODECOMM_KERNEL_FN void Start(const Turn& turn) {
    epoch_ = turn.epoch;
    part_ = PartOffset(call_.region, turn.epoch);
    Way(lane_).Go<Machine>(lane_, call_.packets, [&](uint32_t i) {
      const Packet packet = Encode(mine_.Get(i, Load()));
      NODECOMM_UNROLL
      for (int to = 0; to < kPeers; ++to) {
        Machine::StorePacket(to_[to] + part_ + Behind(i), packet);
      }
      return true;
    });
  }

  // Goes on until all is done, or, with false, until something has not come for a while.
  NODECOMM_KERNEL_FN bool Advance() {
    return receiving_.template Go<Machine>(lane_, call_.packets, [&](uint32_t i) {
      Packet from[kPeers];
      const auto address = [&](int peer) { return from_[peer] + part_ + Behind(i); };
      if (!SpinForPackets<Machine, kPeers>(call_, epoch_, address, from, &awaited_)) {
        return false;
      }
      Machine::AllowNextKernel();
      // Our own as the others find it: the format may change the payload of a NaN.
      const Payload mine = Decode(Encode(mine_.Get(i, Load())));
      StorePayload<kType, kCode>(call_, i,
                                 SumInRankOrder<Machine, kType, kPeers>(mine, call_.rank, from));
      RearmSlots<Machine, kPeers>(address);
      return true;
    });
  }

  // For what, after Advance has returned false.
  NODECOMM_KERNEL_FN const Awaited& awaited() const { return awaited_; }

 private:
  static constexpr int kPeers = kRanks - 1;

  NODECOMM_KERNEL_FN auto Load() const {
    return [this](uint32_t i) { return LoadPayload<Machine, kType, kCode>(call_, i); };
  }
  NODECOMM_KERNEL_FN uint64_t Behind(uint32_t i) const { return PacketOffset(i - lane_.first); }

  const Call& call_;
  const Lane lane_;
  uint32_t epoch_ = 0;
  uint64_t part_ = 0;
  Way receiving_{lane_};
  Awaited awaited_;
  // Of this thread's first packet, in the first part: in the order of sending, and by peer.
  std::byte* to_[kPeers];
  std::byte* from_[kPeers];
  Kept<Machine, Payload> mine_;
};

}  // namespace nodecomm::kernels
