// See random_calls.h.
#include "client/perf/random_calls.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace nodecomm::perf {
namespace {

// The same numbers on every machine: std::mt19937_64 is defined to the bit, the standard's
// distributions are not.
class Dice {
 public:
  Dice(uint64_t seed, uint64_t index, uint64_t purpose)
      : sequence_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                  static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                  static_cast<uint32_t>(purpose)},
        engine_(sequence_) {}

  // 0 to n - 1; the bias is of no concern for the small n here.
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(engine_() % n); }
  double Unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }

 private:
  std::seed_seq sequence_;
  std::mt19937_64 engine_;
};

// What the dice are thrown for.
constexpr uint64_t kCommon = 0;
constexpr uint64_t kDataOfRound = 100;
constexpr uint64_t kOfRank = 200;
constexpr uint64_t kDelayOfRank = 300;

// One round in so many begins late on a rank, by so much at most.
constexpr uint32_t kRoundsADelay = 16;
constexpr double kDelayUsMax = 10'000;

// 1 byte to kRandomMessageMax, every power of two as likely as the next.
size_t ChooseBytes(Dice* dice) {
  return static_cast<size_t>(
      std::exp2(dice->Unit() * std::log2(static_cast<double>(kRandomMessageMax.value))));
}

size_t ChooseCount(nodecomm_type type, Dice* dice) {
  const size_t bytes = ChooseBytes(dice);
  if (dice->Below(64) == 0) return 0;
  return std::max<size_t>(1, bytes / TypeBytes(type));
}

}  // namespace

ByteCount BatchArenaBytes() {
  // Places beyond the messages' own bytes, for every call.
  const ByteCount around = ArenaLayout::BytesNeeded({0}, Placement::kOutOfPlace);
  return {2 * kBatchBytesMax.value + kBatchCallsMax * around.value};
}

Batch MakeBatch(uint64_t seed, uint64_t index, Rank rank) {
  Dice common(seed, index, kCommon);
  Dice own(seed, index, kOfRank + static_cast<uint64_t>(rank.value));
  Batch batch{.graph = common.Below(2) == 0, .layout = ArenaLayout(BatchArenaBytes())};
  const int calls = 1 + static_cast<int>(common.Below(kBatchCallsMax));
  size_t bytes_left = kBatchBytesMax.value;
  for (int i = 0; i < calls; ++i) {
    const auto type = static_cast<nodecomm_type>(common.Below(3));
    const size_t count = std::min(ChooseCount(type, &common), bytes_left / TypeBytes(type));
    bytes_left -= count * TypeBytes(type);
    const Placement placement = own.Below(2) == 0 ? Placement::kInPlace : Placement::kOutOfPlace;
    // Half of the buffers are aligned, since that is another path.
    const size_t in = own.Below(2) * own.Below(kMisalignmentMax + 1);
    const size_t out = own.Below(2) * own.Below(kMisalignmentMax + 1);
    batch.layout.Place(type, count, placement, in, out);
  }
  ChooseData(seed, index, 0, &batch.layout);
  return batch;
}

absl::Duration ChooseDelay(uint64_t seed, uint64_t index, int round, Rank rank) {
  Dice dice(seed, index * 8 + static_cast<uint64_t>(round),
            kDelayOfRank + static_cast<uint64_t>(rank.value));
  if (dice.Below(kRoundsADelay) != 0) return absl::ZeroDuration();
  return absl::Microseconds(dice.Unit() * kDelayUsMax);
}

void ChooseData(uint64_t seed, uint64_t index, int round, ArenaLayout* layout) {
  Dice dice(seed, index, kDataOfRound + static_cast<uint64_t>(round));
  for (ArenaCall& call : layout->calls()) call.first_element = dice.Below(kFirstElementMax);
}

}  // namespace nodecomm::perf
