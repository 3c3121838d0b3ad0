// A call's place in the sequence of its communicator's calls: which epoch it has, and when the
// epoch advances. Not the epochs' arithmetic (call.h), nor the waiting for peers (await.h). Design
// note: kernels/README.md, "Why it is right".
#pragma once

#include <cstdint>

#include "kernels/device/await.h"
#include "kernels/device/call.h"

namespace nodecomm::kernels {

struct Turn {
  uint32_t epoch;
  // Non-zero: the generation is over. Looked at only after sending, so that the loads of the
  // packets do not wait for it; what a dead generation's planes hold is of no use to anybody.
  uint32_t poison;
};

// `block`: which epoch word is this thread's.
template <class Machine>
NODECOMM_KERNEL_FN Turn BeginTurn(const Call& call, uint32_t block) {
  PlaneHeader* header = HeaderOf(call.planes[call.rank]);
  const uint32_t poison = Machine::LoadRelaxed(&header->poison);
  return {.epoch = NextEpoch(Machine::LoadRelaxed(&header->epoch[block])), .poison = poison};
}

// Called once by every thread, after its first packets are on their way and before it waits for
// any: advances the epoch words while the packets travel. False: the generation is over.
//
// Every thread of the block has read its epoch by then, and no other block reads this block's word;
// words of blocks that this grid does not have are advanced too, so that the next call may have
// another grid. The next call reads them after this kernel's end.
template <class Machine, int kRanks>
NODECOMM_KERNEL_FN bool EndSending(const Call& call, const Turn& turn) {
  Machine::AdvanceEpochs(HeaderOf(call.planes[call.rank]), turn.epoch);
  if (turn.poison == 0) return true;
  GiveUp<Machine>(call, kRanks, FailureRecord::kStopped, turn.epoch, -1);
  return false;
}

}  // namespace nodecomm::kernels
