// A call's place in the sequence of its communicator's calls: which epoch it has, when the epoch
// advances, and whether another call has the same place. Not the epochs' arithmetic (call.h), nor
// the waiting for peers (await.h). Design note: kernels/README.md, "Why it is right".
#pragma once

#include <cstdint>

#include "kernels/device/await.h"
#include "kernels/device/call.h"
#include "kernels/device/credit.h"

namespace nodecomm::kernels {

// `proves_alone`: call.proves_alone, or false in code that cannot.
// Every load is in flight before one is looked at: this is on the way of the first packet.
template <class Machine>
NODECOMM_KERNEL_FN Turn BeginTurn(const Call& call, bool proves_alone) {
  PlaneHeader* header = HeaderOf(OwnPlane(call));
  const FoundState found = Machine::FindState(header, proves_alone);
  return {.found = found.own.epoch.begun,
          .overlaps = found.own.epoch.ended != found.own.epoch.begun || found.others_differ,
          .poison = found.own.poison,
          .proves_alone = proves_alone};
}

// True: the generation is over here, and the call ends before it sends anything. After a leave a
// peer may still be in an earlier call, whose packets a call that nobody waited for would
// overwrite. Poison comes first: who gave up has not ended its call.
NODECOMM_KERNEL_FN bool IsOver(const Turn& turn) { return turn.poison != 0 || turn.overlaps; }

NODECOMM_KERNEL_FN Failure WhyOver(const Turn& turn) {
  return {turn.poison != 0 ? FailureRecord::kStopped : FailureRecord::kOverlap, FirstEpoch(turn),
          -1};
}

// Called once by every thread, after its first packets are on their way and before it waits for
// any: the launch takes its epochs, in all words, while the packets travel. Where it must have it
// alone, a thread of each block waits for the answer, and gives up if it is no: then the others
// find their plane poisoned. False: this thread has to give up.
//
// Every thread of the block has read its epoch by then. Of the words, a block takes its own, and
// those of blocks that this grid does not have, so that the next call may have another grid. The
// next call reads them after this kernel's end.
template <class Machine>
NODECOMM_KERNEL_FN bool EndSending(const Call& call, const Turn& turn, Failure* failure) {
  PlaneHeader* header = HeaderOf(OwnPlane(call));
  if (!turn.proves_alone) [[likely]] {
    Machine::AdvanceEpochs(header, FinalEpoch(call, turn));
    return true;
  }
  if (Machine::TakeEpoch(header, turn.found, FinalEpoch(call, turn)) == turn.found) return true;
  *failure = {FailureRecord::kOverlap, FirstEpoch(turn), -1};
  return false;
}

// Called once by every thread that has passed EndSending, as its last act. `done`: it has not given
// up.
template <class Machine>
NODECOMM_KERNEL_FN void EndTurn(const Call& call, const Turn& turn, bool done) {
  if (turn.proves_alone) {
    Machine::EndEpoch(HeaderOf(OwnPlane(call)), FinalEpoch(call, turn), done);
  }
}

// The protocol's Advance. In full code, whoever is done waits at the launch's end for the others of
// its warp, and these must not wait for it in between: they part behind one place, whatever the
// assembler makes of the loop around it. In lean code, whoever is done exits.
template <class Machine, class Protocol>
NODECOMM_KERNEL_FN bool AdvanceTogether(Protocol& protocol) {
  if constexpr (Protocol::kHasCode == Code::kLean) {
    return protocol.Advance();
  } else {
    const auto together = Machine::Together();
    const bool done = protocol.Advance();
    Machine::Meet(together);
    return done;
  }
}

// From the first packet to the last, on this thread. False: it has to give up.
template <class Machine, int kRanks, class Protocol>
NODECOMM_KERNEL_FN bool RunTurn(const Call& call, const Turn& turn, Protocol& protocol,
                                Failure* failure) {
  constexpr bool kTakesCredits = Protocol::kMayTakeSeveralChunks;
  if constexpr (kTakesCredits) {
    if (IsTurnToClearCredits(call, turn)) [[unlikely]] {
      ClearCredits<Machine>(call);
      Machine::FenceBlock();
    }
  }
  protocol.Start(turn);
  bool goes_on = EndSending<Machine>(call, turn, failure);
  if constexpr (!kTakesCredits) {
    if (IsTurnToClearCredits(call, turn)) [[unlikely]]
      ClearCredits<Machine>(call);
  }
  Patience<Machine> patience;
  while (goes_on && !AdvanceTogether<Machine>(protocol)) {
    goes_on = patience.MayWait(call, kRanks, protocol.awaited(), failure);
  }
  return goes_on;
}

}  // namespace nodecomm::kernels
