// The packets of one index from all ranks, while they come: each in its rank's place, so that they
// are summed as they stand. Not the waiting (await.h), nor the sums (sum.h).
#pragma once

#include "kernels/device/call.h"
#include "kernels/device/format.h"

namespace nodecomm::kernels {

// Places are in the order in which packets are added. That is rank order on every rank, so that all
// get the same bits; of two, the order makes no difference.
template <class Machine, int kRanks>
class RankPackets {
  // What the compiler knows is not asked as the kernel runs.
  static constexpr bool kOwnIsLast = kRanks == 2 && Machine::kAddCommutes;

 public:
  // Places that may be a peer's.
  static constexpr int kPeerPlaces = kOwnIsLast ? 1 : kRanks;

  NODECOMM_KERNEL_FN explicit RankPackets(int self = 0) : self_(self) {
    // Nobody waits for this rank's own: whatever stands there has come.
    NODECOMM_UNROLL
    for (int place = 0; place < kRanks; ++place) at_[place] = {{0, 1, 0, 1}};
  }

  NODECOMM_KERNEL_FN const Packet& operator[](int place) const { return at_[place]; }

  // This rank's own, as its peers see it.
  NODECOMM_KERNEL_FN void PutOwn(const Packet& own) {
    NODECOMM_UNROLL
    for (int place = 0; place < kRanks; ++place) {
      // Word by word: chosen as a whole, both would have addresses, and lie in memory.
      NODECOMM_UNROLL
      for (int i = 0; i < kPayloadWords; ++i) {
        at_[place].word[i] = IsPeer(place) ? at_[place].word[i] : own.word[i];
      }
    }
  }

  // Loads those of the peers, as they are by now, from their slots: the first of them at `slots`.
  // All loads are in flight together.
  NODECOMM_KERNEL_FN void LoadFrom(const std::byte* slots) {
    NODECOMM_UNROLL
    for (int place = 0; place < kPeerPlaces; ++place) {
      if constexpr (kOwnIsLast) {
        at_[place] = Machine::LoadPacket(slots);
      } else {
        Machine::LoadPacketIf(IsPeer(place), slots + Offset(place), &at_[place]);
      }
    }
  }

  NODECOMM_KERNEL_FN bool HaveCome() const {
    bool have_come = true;
    NODECOMM_UNROLL
    for (int place = 0; place < kPeerPlaces; ++place) have_come &= HasCome(at_[place]);
    return have_come;
  }

  // A rank whose packet has not come; -1: all have by now. Looks again, so that a loop that waits
  // keeps nothing for it.
  NODECOMM_KERNEL_FN int MissingRank(const std::byte* slots) const {
    int missing = -1;
    NODECOMM_KEEP_ROLLED
    for (int place = 0; place < kPeerPlaces; ++place) {
      if (!IsPeer(place) || HasCome(Machine::LoadPacket(slots + Offset(place)))) continue;
      missing = RankAt(place);
    }
    return missing;
  }

  // Puts the slots that were loaded from back to "not yet".
  NODECOMM_KERNEL_FN void RearmAt(std::byte* slots) const {
    NODECOMM_UNROLL
    for (int place = 0; place < kPeerPlaces; ++place) {
      if (IsPeer(place)) Rearm<Machine>(slots + Offset(place));
    }
  }

  NODECOMM_KERNEL_FN bool IsPeer(int place) const {
    return kOwnIsLast ? place == 0 : place != self_;
  }
  NODECOMM_KERNEL_FN int RankAt(int place) const {
    if constexpr (kOwnIsLast) return place == 0 ? 1 - self_ : self_;
    return place;
  }

 private:
  NODECOMM_KERNEL_FN static uint32_t Offset(int place) { return PlaceOffset<kRanks>(place); }

  int self_;
  Packet at_[kRanks];
};

}  // namespace nodecomm::kernels
