// The comparison of checked mode: before an all-reduce every rank tells every other what it is
// about to call, and nobody goes on before all have said the same. Not the all-reduce itself, whose
// sums do not change. Design note: kernels/README.md, "checked mode".
#pragma once

#include <cstdint>

#include "kernels/device/await.h"
#include "kernels/device/call.h"

namespace nodecomm::kernels {

// In the packet's third word beside the type, so that no call looks like memory that nobody wrote.
inline constexpr uint32_t kCallMarker = 0x4e430000u;

NODECOMM_KERNEL_FN Packet EncodeCallFacts(const CallFacts& facts, uint32_t sequence) {
  return {{static_cast<uint32_t>(facts.bytes), static_cast<uint32_t>(facts.bytes >> 32),
           kCallMarker | facts.type, sequence}};
}

NODECOMM_KERNEL_FN CallFacts DecodeCallFacts(const Packet& packet) {
  return {.bytes = packet.word[0] | static_cast<uint64_t>(packet.word[1]) << 32,
          .type = packet.word[2] ^ kCallMarker};
}

// One check of one rank: gives up as all-reduces do, and says which call it was about.
template <class Machine, int kRanks>
class CallCheck {
 public:
  // What:     true once every rank has said that its call no. `sequence` is `mine` too.
  // Shapes:   a packet a peer.
  // Grid:     one thread.
  // Ordering: a packet is whole once the number of the call stands in its last word: on a GPU it is
  //           one atom, and a host stores that half last. A slot of one parity is written again two
  //           checks later, which its writer begins only after it heard from us in the check
  //           between: we had read the slot then. So it never holds anything older than two calls,
  //           and numbers that come round are not met.
  // Before:   the previous check and the calls behind it on this communicator have ended.
  // Failure:  false after giving up: a rank calls something else, is missing at the deadline or has
  //           left, or two checks of this rank overlap. The generation is over.
  NODECOMM_KERNEL_FN static bool Run(const Call& call, const CallFacts& mine) {
    PlaneHeader* own = HeaderOf(OwnPlane(call));
    const uint32_t poison = Machine::LoadRelaxed(&own->poison);
    const EpochPair found = Machine::LoadRelaxed(&own->check);
    CallCheck check(call, mine, NextEpoch(found.begun));
    if (poison != 0) return check.GiveUp(FailureRecord::kStopped, -1);
    // Off the path that matters, so the exchange is waited for.
    if (found.begun != found.ended ||
        Machine::ExchangeBegun(&own->check, check.sequence_) != found.begun) {
      return check.GiveUp(FailureRecord::kOverlap, -1);
    }
    check.Tell();
    if (!check.Compare()) return false;
    Machine::StoreRelaxed(&own->check, EpochPair{check.sequence_, check.sequence_});
    return true;
  }

 private:
  NODECOMM_KERNEL_FN CallCheck(const Call& call, const CallFacts& mine, uint32_t sequence)
      : call_(call), mine_(mine), sequence_(sequence) {}

  NODECOMM_KERNEL_FN std::byte* Slot(int to, int from) const {
    return HeaderOf(PlaneOf(call_, to, kRanks))->check_slots[sequence_ & 1u][from];
  }

  NODECOMM_KERNEL_FN void Tell() const {
    const Packet packet = EncodeCallFacts(mine_, sequence_);
    for (int r = 0; r < kRanks; ++r) {
      if (r != call_.rank) Machine::StorePacket(Slot(r, call_.rank), packet);
    }
  }

  // Looks at each packet as it comes: a rank that differs is named also where another is missing.
  NODECOMM_KERNEL_FN bool Compare() {
    const Packet expected = EncodeCallFacts(mine_, sequence_);
    while (true) {
      uint32_t missing = 0;
      for (int r = 0; r < kRanks; ++r) {
        if (r == call_.rank) continue;
        const Packet theirs = Machine::LoadPacket(Slot(call_.rank, r));
        if (theirs.word[3] != sequence_) {
          missing |= 1u << r;
        } else if (((theirs.word[0] ^ expected.word[0]) | (theirs.word[1] ^ expected.word[1]) |
                    (theirs.word[2] ^ expected.word[2])) != 0) {
          return GiveUpForMismatch(r, DecodeCallFacts(theirs));
        }
      }
      if (missing == 0) return true;
      if (!MayWait(missing)) return false;
    }
  }

  // As Patience (await.h), but for leaves: whoever left after this check has sent its packet, also
  // where the call is of no elements and has no epoch.
  NODECOMM_KERNEL_FN bool MayWait(uint32_t missing) {
    if ((++turns_ & (Machine::kTurnsPerCheck - 1)) != 0) {
      Machine::Pause();
      return true;
    }
    if (Machine::LoadRelaxed(&HeaderOf(OwnPlane(call_))->poison) != 0 ||
        Machine::LoadRelaxed(call_.stop_words.stop) != 0) {
      return GiveUp(FailureRecord::kStopped, FirstOf(missing));
    }
    // A packet that was sent before the leave may come between our look at it and this one. So only
    // who had left when we asked before, and is still missing, will not come any more.
    const uint32_t gone = left_ & missing;
    if (gone != 0) return GiveUp(FailureRecord::kLeft, FirstOf(gone));
    left_ = Machine::LoadAcquire(call_.stop_words.left_mask);
    const uint64_t now = Machine::NowNs();
    if (start_ns_ == 0) start_ns_ = now;
    if (now - start_ns_ > call_.timeout_ns) {
      return GiveUp(FailureRecord::kTimeout, FirstOf(missing));
    }
    return true;
  }

  NODECOMM_KERNEL_FN static int FirstOf(uint32_t ranks) {
    int r = 0;
    while ((ranks >> r & 1u) == 0) ++r;
    return r;
  }

  NODECOMM_KERNEL_FN bool GiveUp(uint32_t state, int rank) const {
    if (Machine::ClaimOnce(&HeaderOf(OwnPlane(call_))->failure_claimed)) {
      WriteRecord(state, rank);
      PoisonPlanes<Machine>(call_, kRanks, state);
    }
    return false;
  }

  NODECOMM_KERNEL_FN bool GiveUpForMismatch(int rank, const CallFacts& theirs) const {
    if (Machine::ClaimOnce(&HeaderOf(OwnPlane(call_))->failure_claimed)) {
      Machine::StoreRelaxed(&call_.failure->own.bytes, mine_.bytes);
      Machine::StoreRelaxed(&call_.failure->own.type, mine_.type);
      Machine::StoreRelaxed(&call_.failure->other.bytes, theirs.bytes);
      Machine::StoreRelaxed(&call_.failure->other.type, theirs.type);
      WriteRecord(FailureRecord::kMismatch, rank);
      PoisonPlanes<Machine>(call_, kRanks, FailureRecord::kMismatch);
    }
    return false;
  }

  NODECOMM_KERNEL_FN void WriteRecord(uint32_t state, int rank) const {
    const PlaneHeader* own = HeaderOf(OwnPlane(call_));
    Machine::StoreRelaxed(&call_.failure->sequence, sequence_);
    RecordFailure<Machine>(call_, state,
                           NextEpoch(Machine::LoadRelaxed(&own->block[0].epoch).begun), rank);
  }

  const Call& call_;
  const CallFacts mine_;
  const uint32_t sequence_;
  uint32_t turns_ = 0;
  uint32_t left_ = 0;
  uint64_t start_ns_ = 0;
};

}  // namespace nodecomm::kernels
