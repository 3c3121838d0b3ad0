// Waiting for packets, with an end: every turn loads all peers' packets at once; every so many
// turns it asks whether to give up. Not a barrier: a packet carries its own readiness, so nothing
// else is ordered by waiting for it. Design note: kernels/README.md, "giving up".
#pragma once

#include <cstdint>

#include "kernels/device/call.h"
#include "kernels/device/rank_packets.h"

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

// Marks the generation as failed, here and, if it is news to them, at every peer: for who waits,
// and for every block that starts later. By the one thread that has claimed the record, since it is
// many stores: later kernels of this rank come behind its own end.
template <class Machine>
NODECOMM_KERNEL_FN void PoisonPlanes(const Call& call, int ranks, uint32_t state) {
  NODECOMM_KEEP_ROLLED
  for (int r = 0; r < ranks; ++r) {
    if (r != call.rank && !IsNewsToPeers(state)) continue;
    PlaneHeader* header = HeaderOf(PlaneOf(call, r, ranks));
    Machine::StoreRelaxed(&header->poison, 1u);
    NODECOMM_KEEP_ROLLED
    for (int block = 0; block < kBlocksMax; ++block) {
      Machine::StoreRelaxed(&header->block[block].poison, 1u);
    }
  }
}

// Why a thread gives up: what goes into the failure record. Found where it waits, acted upon in one
// place at the launch's end, so that the loops stay short.
struct Failure {
  uint32_t state = FailureRecord::kNone;
  uint32_t epoch = 0;
  int rank = -1;
};

// Fails the generation and writes why, once.
template <class Machine>
NODECOMM_KERNEL_FN void GiveUp(const Call& call, int ranks, const Failure& failure) {
  // Also who comes second: of two launches on two streams that end with it, a third may follow at
  // once.
  PlaneHeader* own = HeaderOf(OwnPlane(call));
  Machine::StoreRelaxed(&own->block[Machine::BlockIndex()].poison, 1u);
  if (Machine::ClaimOnce(&own->failure_claimed)) {
    RecordFailure<Machine>(call, failure.state, failure.epoch, failure.rank);
    PoisonPlanes<Machine>(call, ranks, failure.state);
  }
}

// What a thread waits for. Rank -1: it has come meanwhile.
struct Awaited {
  uint32_t epoch = 0;
  int rank = -1;
};

// One thread's patience with one launch: whether to go on after having waited for a while in vain.
// Kept apart from the loops that wait, so that those are short: code that is fetched again and
// again costs more than what it computes.
template <class Machine>
class Patience {
 public:
  // False: give up, for the reason put into `failure`.
  NODECOMM_KERNEL_FN bool MayWait(const Call& call, int ranks, const Awaited& awaited,
                                  Failure* failure) {
    if (Machine::LoadRelaxed(&HeaderOf(OwnPlane(call))->poison) != 0 ||
        Machine::LoadRelaxed(call.stop_words.stop) != 0) {
      *failure = {FailureRecord::kStopped, awaited.epoch, awaited.rank};
      return false;
    }
    // A rank that left completed some epoch; calls after that one can complete on no rank.
    const uint32_t left = Machine::LoadAcquire(call.stop_words.left_mask);
    NODECOMM_KEEP_ROLLED
    for (int r = 0; left != 0 && r < ranks; ++r) {
      if ((left >> r & 1u) == 0) continue;
      const uint32_t last = Machine::LoadRelaxed(call.stop_words.left_epoch + r);
      if (static_cast<int32_t>(awaited.epoch - last) <= 0) continue;
      *failure = {FailureRecord::kLeft, awaited.epoch, r};
      return false;
    }
    const uint64_t now = Machine::NowNs();
    if (start_ns_ == 0) start_ns_ = now;
    if (now - start_ns_ > call.timeout_ns && awaited.rank >= 0) {
      *failure = {FailureRecord::kTimeout, awaited.epoch, awaited.rank};
      return false;
    }
    return true;
  }

 private:
  uint64_t start_ns_ = 0;
};

// Loads the peers' packets from their slots until all have come. False: not for a while; `awaited`
// says what is missing: a packet of `epoch`.
//
// `group`: Alone, or Machine::Together(): the threads of a warp that come together go on together.
// One by one they would store parts of lines, which large messages feel; small ones between
// more than two ranks are faster alone (kernels/README.md, "tried").
template <class Machine, int kRanks, class Group>
NODECOMM_KERNEL_FN bool SpinForPackets(Group group, uint32_t epoch, const std::byte* slots,
                                       RankPackets<Machine, kRanks>& packets, Awaited* awaited) {
  bool have_come = false;
  NODECOMM_KEEP_ROLLED
  for (uint32_t turn = 0; turn < Machine::kTurnsPerCheck; ++turn) {
    packets.LoadFrom(slots);
    have_come = packets.HaveCome();
    if (Machine::AllOf(group, have_come)) return true;
    Machine::Pause();
  }
  *awaited = {epoch, Machine::LargestOf(group, have_come ? -1 : packets.MissingRank(slots))};
  return false;
}

// The same in a stream, where the threads of a warp that wait together may be at different packets.
// What one of them waits for may be sent only behind a packet of another's, by a warp whose threads
// stand the other way round: two ranks would hold each other up. So after a while each goes on
// alone, if its own have come.
template <class Machine, int kRanks>
NODECOMM_KERNEL_FN bool SpinForStreamed(uint32_t epoch, const std::byte* slots,
                                        RankPackets<Machine, kRanks>& packets, Awaited* awaited) {
  return SpinForPackets(Machine::Together(), epoch, slots, packets, awaited) || packets.HaveCome();
}

}  // namespace nodecomm::kernels
