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
  // Non-zero: the generation is over.
  uint32_t poison;
};

// `block`: which epoch word is this thread's.
template <class Machine>
NODECOMM_KERNEL_FN Turn BeginTurn(const Call& call, uint32_t block) {
  PlaneHeader* header = HeaderOf(call.planes[call.rank]);
  const uint32_t poison = Machine::LoadRelaxed(&header->poison);
  return {.epoch = NextEpoch(Machine::LoadRelaxed(&header->epoch[block])), .poison = poison};
}

// True: the generation is over here, and the call ends before it sends anything. After a leave a
// peer may still be in an earlier call, whose packets a call that nobody waited for would
// overwrite.
template <class Machine>
NODECOMM_KERNEL_FN bool IsOver(const Call& call, const Turn& turn, int ranks) {
  if (turn.poison == 0) return false;
  GiveUp<Machine>(call, ranks, FailureRecord::kStopped, turn.epoch, -1);
  return true;
}

// Called once by every thread, after its first packets are on their way and before it waits for
// any: advances the epoch words while the packets travel.
//
// Every thread of the block has read its epoch by then, and no other block reads this block's word;
// words of blocks that this grid does not have are advanced too, so that the next call may have
// another grid. The next call reads them after this kernel's end.
template <class Machine>
NODECOMM_KERNEL_FN void EndSending(const Call& call, const Turn& turn) {
  Machine::AdvanceEpochs(HeaderOf(call.planes[call.rank]), turn.epoch);
}

}  // namespace nodecomm::kernels
