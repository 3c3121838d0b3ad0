// Waiting for packets, with an end: every turn loads all peers' packets at once; every so many
// turns it asks whether to give up. Not a barrier: a packet carries its own readiness, so nothing
// else is ordered by waiting for it. Design note: kernels/README.md, "giving up".
#pragma once

#include <cstdint>

#include "kernels/device/call.h"

namespace nodecomm::kernels {

// Whether the peers cannot see for themselves why this rank gave up. They see the stop word and the
// leave words, and after a leave they may still be in the last call that the leaver completed,
// which is to complete everywhere.
NODECOMM_KERNEL_FN bool IsNewsToPeers(uint32_t state) {
  return state != FailureRecord::kStopped && state != FailureRecord::kLeft;
}

// By the one thread that has claimed the record; what else belongs into it is there already.
template <class Machine>
NODECOMM_KERNEL_FN void RecordFailure(const Call& call, uint32_t state, uint32_t epoch,
                                      int missing_rank) {
  Machine::StoreRelaxed(&call.failure->epoch, epoch);
  Machine::StoreRelaxed(reinterpret_cast<uint32_t*>(&call.failure->missing_rank),
                        static_cast<uint32_t>(missing_rank));
  Machine::StoreRelease(&call.failure->state, state);
}

// Marks the generation as failed, here and, if it is news to them, at every peer.
template <class Machine>
NODECOMM_KERNEL_FN void PoisonPlanes(const Call& call, int ranks, uint32_t state) {
  for (int r = 0; r < ranks; ++r) {
    if (r == call.rank || IsNewsToPeers(state)) {
      Machine::StoreRelaxed(&HeaderOf(call.planes[r])->poison, 1u);
    }
  }
}

// Fails the generation and writes why, once.
template <class Machine>
NODECOMM_KERNEL_FN void GiveUp(const Call& call, int ranks, uint32_t state, uint32_t epoch,
                               int missing_rank) {
  if (Machine::ClaimOnce(&HeaderOf(call.planes[call.rank])->failure_claimed)) {
    RecordFailure<Machine>(call, state, epoch, missing_rank);
  }
  PoisonPlanes<Machine>(call, ranks, state);
}

// One thread's patience with one wait. Kept apart from the wait's own loop so that the loop stays
// in registers.
template <class Machine>
class Patience {
 public:
  // Called after a turn without success; false: stop, it has been reported.
  NODECOMM_KERNEL_FN bool MayWait(const Call& call, int ranks, uint32_t epoch, int missing_rank) {
    if ((++turns_ & (Machine::kTurnsPerCheck - 1)) != 0) {
      Machine::Pause();
      return true;
    }
    return Check(call, ranks, epoch, missing_rank);
  }

 private:
  NODECOMM_KERNEL_FN bool Check(const Call& call, int ranks, uint32_t epoch, int missing_rank) {
    if (Machine::LoadRelaxed(&HeaderOf(call.planes[call.rank])->poison) != 0 ||
        Machine::LoadRelaxed(call.stop_words.stop) != 0) {
      GiveUp<Machine>(call, ranks, FailureRecord::kStopped, epoch, missing_rank);
      return false;
    }
    // A rank that left completed some epoch; calls after that one can complete on no rank.
    const uint32_t left = Machine::LoadAcquire(call.stop_words.left_mask);
    for (int r = 0; left != 0 && r < ranks; ++r) {
      if ((left >> r & 1u) == 0) continue;
      const uint32_t last = Machine::LoadRelaxed(call.stop_words.left_epoch + r);
      if (static_cast<int32_t>(epoch - last) <= 0) continue;
      GiveUp<Machine>(call, ranks, FailureRecord::kLeft, epoch, r);
      return false;
    }
    const uint64_t now = Machine::NowNs();
    if (start_ns_ == 0) start_ns_ = now;
    if (now - start_ns_ > call.timeout_ns) {
      GiveUp<Machine>(call, ranks, FailureRecord::kTimeout, epoch, missing_rank);
      return false;
    }
    return true;
  }

  uint32_t turns_ = 0;
  uint64_t start_ns_ = 0;
};

// Waits until the packet of `epoch` at address_of(r) has come, for every rank r but our own, and
// loads them into `from`. False: gave up.
template <class Machine, class Format, int kRanks, class AddressOf>
NODECOMM_KERNEL_FN bool AwaitPackets(const Call& call, uint32_t epoch, const AddressOf& address_of,
                                     Packet (&from)[kRanks]) {
  Patience<Machine> patience;
  while (true) {
    // All loads in flight together, then all checks.
    NODECOMM_UNROLL
    for (int r = 0; r < kRanks; ++r) {
      if (r != call.rank) from[r] = Machine::LoadPacket(address_of(r));
    }
    int missing = -1;
    NODECOMM_UNROLL
    for (int r = 0; r < kRanks; ++r) {
      if (r != call.rank && !Format::Ready(from[r], epoch)) missing = r;
    }
    if (missing < 0) return true;
    if (!patience.MayWait(call, kRanks, epoch, missing)) return false;
  }
}

}  // namespace nodecomm::kernels
