// When a part of a region may be filled again inside one launch: credits. A message of many chunks
// comes round to the same part before its kernel ends, so no kernel boundary says that the peers
// have read it. Instead each block tells its namesakes at the peers when it has finished with a
// chunk. Not needed by messages of one chunk. Design note: kernels/README.md, "chunks".
#pragma once

#include <cstdint>

#include "kernels/device/await.h"
#include "kernels/device/call.h"

namespace nodecomm::kernels {

// What a peer said of an epoch and never again since comes round after 2^32 chunks, and is taken
// for more than is asked for after 2^31. So the launch that passes a multiple of 2^31 clears all
// credits, or the first behind it; those that begin at the next few epochs, too, since the one that
// passed it may have left some of before it. The first calls of a group are among them, so that it
// is no rare path.
NODECOMM_KERNEL_FN bool IsTurnToClearCredits(const Call& call, const Turn& turn) {
  const uint32_t first = FirstEpoch(turn) & 0x7fffffffu;
  const uint32_t last = FinalEpoch(call, turn) & 0x7fffffffu;
  return first > last || first <= kEpochAfterWrap;
}

// Clears the credits of our own plane.
//
// Ordering: nobody gives a credit that is not waited for (IsCreditWanted), so none of earlier
// launches is under way. A peer's block gives one of a launch after it has heard its namesake here
// in it. So a launch that may take credits clears before it sends: a fence and a block barrier make
// every thread's clearing precede every packet of its block; of the credits a block clears its own,
// and those of blocks that this grid does not have. In any other launch it is
// early enough anywhere: the next one sends behind this kernel's end.
template <class Machine>
NODECOMM_KERNEL_FN void ClearCredits(const Call& call) {
  Machine::ClearCredits(CreditsOf(OwnPlane(call)));
}

// Called by every thread of a block once it has read all its packets of the chunk of `epoch` and
// re-armed their slots.
//
// Ordering: the last thread to come has all others' re-arming behind it (acquire and release in the
// block), and puts it before the credit. A peer's thread that acquires the credit and then stores
// into one of these slots stores after the re-arming.
template <class Machine, int kRanks>
NODECOMM_KERNEL_FN void GiveCredit(const Call& call, uint32_t epoch) {
  const auto together = Machine::Together();
  // Another thread tells of the chunk before, in the same word. It does so before it counts itself
  // for this chunk, and whoever is last acquires that.
  if (Machine::IsLastOfBlock(epoch)) {
    const uint32_t block = Machine::BlockIndex();
    Machine::FenceOwnMemory();
    NODECOMM_UNROLL
    for (int step = 1; step < kRanks; ++step) {
      Machine::StoreBehindFence(&CreditsOf(call.planes[step])->finished[block][call.rank], epoch);
    }
  }
  // Nobody of the warp goes on to wait while another has yet to count for it.
  Machine::Meet(together);
}

// Whether every peer's block of this index has finished with the chunk of `epoch`; waits for a
// while. False: not yet; `awaited` says what is missing. Threads of a warp that come together go on
// together, but after a while each alone (SpinForStreamed).
//
// A peer may have gone further by then, by fewer chunks than a region has parts. What it said 2^31
// chunks ago and more is not there any more (ClearCredits).
template <class Machine, int kRanks>
NODECOMM_KERNEL_FN bool SpinForCredit(const Call& call, uint32_t epoch, Awaited* awaited) {
  const uint32_t* finished = CreditsOf(OwnPlane(call))->finished[Machine::BlockIndex()];
  const auto together = Machine::Together();
  int missing = -1;
  NODECOMM_KEEP_ROLLED
  for (uint32_t turn = 0; turn < Machine::kTurnsPerCheck; ++turn) {
    missing = -1;
    NODECOMM_UNROLL
    for (int step = 1; step < kRanks; ++step) {
      const int rank = RankAfter(call.rank, step, kRanks);
      const uint32_t last = Machine::LoadAcquire(&finished[rank]);
      if (last == 0 || static_cast<int32_t>(last - epoch) < 0) missing = rank;
    }
    if (Machine::AllOf(together, missing < 0)) return true;
    Machine::Pause();
  }
  *awaited = {epoch, Machine::LargestOf(together, missing)};
  return missing < 0;
}

}  // namespace nodecomm::kernels
