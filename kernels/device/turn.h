// A call's place in the sequence of its communicator's calls: which epoch it has, when the epoch
// advances, and whether another call has the same place. Not the epochs' arithmetic (call.h), nor
// the waiting for peers (await.h). Design note: kernels/README.md, "Why it is right".
#pragma once

#include <cstdint>

#include "kernels/device/await.h"
#include "kernels/device/call.h"
#include "kernels/device/credit.h"

namespace nodecomm::kernels {

// Every load is in flight before one is looked at: this is on the way of the first packet.
template <class Machine, Code kCode>
NODECOMM_KERNEL_FN Turn BeginTurn(const Call& call) {
  PlaneHeader* header = HeaderOf(OwnPlane(call));
  const FoundState found = Machine::FindState(header, kProvesAlone<kCode>);
  return {.found = found.own.epoch.begun,
          .overlaps = found.own.epoch.ended != found.own.epoch.begun || found.others_differ,
          .poison = found.own.poison};
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
// any: the launch takes its epochs, in all words, while the packets travel. False: another call has
// taken them, and this thread has to give up. That is told to some threads of the block; the others
// find their plane poisoned by these.
//
// Every thread of the block has read its epoch by then. Of the words, a block takes its own, and
// those of blocks that this grid does not have, so that the next call may have another grid. The
// next call reads them after this kernel's end.
template <class Machine, Code kCode>
NODECOMM_KERNEL_FN bool EndSending(const Call& call, const Turn& turn, Failure* failure) {
  PlaneHeader* header = HeaderOf(OwnPlane(call));
  if constexpr (!kProvesAlone<kCode>) {
    Machine::AdvanceEpochs(header, FinalEpoch(call, turn));
    return true;
  } else {
    if (Machine::TakeEpoch(header, turn.found, FinalEpoch(call, turn))) [[likely]]
      return true;
    *failure = {FailureRecord::kOverlap, FirstEpoch(turn), -1};
    return false;
  }
}

// Called once by every thread that has done its part, as its last act. Who gives up does not come:
// then the call has not ended, for whoever looks.
template <class Machine, Code kCode>
NODECOMM_KERNEL_FN void EndTurn(const Call& call, const Turn& turn) {
  if constexpr (kProvesAlone<kCode>) {
    Machine::EndEpoch(HeaderOf(OwnPlane(call)), FinalEpoch(call, turn));
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
  bool goes_on = EndSending<Machine, Protocol::kHasCode>(call, turn, failure);
  if constexpr (!kTakesCredits) {
    if (IsTurnToClearCredits(call, turn)) [[unlikely]]
      ClearCredits<Machine>(call);
  }
  Patience<Machine> patience;
  while (goes_on && !protocol.Advance()) {
    goes_on = patience.MayWait(call, kRanks, protocol.awaited(), failure);
  }
  return goes_on;
}

}  // namespace nodecomm::kernels
