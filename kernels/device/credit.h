// When a half may be filled again inside one launch: credits. A message of more than two chunks
// comes round to the same half before its kernel ends, so no kernel boundary says that the peers
// have read it. Instead each block tells its namesakes at the peers when it has finished with a
// chunk. Not needed by messages of one chunk. Design note: kernels/README.md, "chunks".
#pragma once

#include <cstdint>

#include "kernels/device/await.h"
#include "kernels/device/call.h"

namespace nodecomm::kernels {

// Called by every thread of a block once it has read all its packets of the chunk of `epoch` and
// re-armed their slots.
//
// Ordering: the last thread to come has all others' re-arming behind it (acquire and release in the
// block), and releases it to the peers with the credit. A peer's thread that acquires the credit
// and then stores into one of these slots stores after the re-arming.
template <class Machine, int kRanks>
NODECOMM_KERNEL_FN void GiveCredit(const Call& call, uint32_t epoch) {
  if (!Machine::IsLastOfBlock(epoch)) return;
  const uint32_t block = Machine::BlockIndex();
  NODECOMM_UNROLL
  for (int step = 1; step < kRanks; ++step) {
    const int to = RankAfter(call.rank, step, kRanks);
    Machine::StoreRelease(&CreditsOf(call.planes[to])->finished[block][call.rank], epoch);
  }
}

// Waits until every peer's block of this index has finished with the chunk of `epoch`. False: gave
// up.
//
// A peer may have finished with one chunk more by then, but not with two: for that it needs packets
// that the calling thread has yet to send.
template <class Machine, int kRanks>
NODECOMM_KERNEL_FN bool AwaitCredit(const Call& call, uint32_t epoch) {
  const uint32_t* finished = CreditsOf(call.planes[call.rank])->finished[Machine::BlockIndex()];
  Patience<Machine> patience;
  while (true) {
    int missing = -1;
    NODECOMM_UNROLL
    for (int r = 0; r < kRanks; ++r) {
      if (r == call.rank) continue;
      const uint32_t last = Machine::LoadAcquire(&finished[r]);
      if (last != epoch && last != NextEpoch(epoch)) missing = r;
    }
    if (missing < 0) return true;
    if (!patience.MayWait(call, kRanks, epoch, missing)) return false;
  }
}

}  // namespace nodecomm::kernels
