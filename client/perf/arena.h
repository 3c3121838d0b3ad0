// Where the buffers of a few checked calls lie in one piece of memory, what is in it before the
// calls, and whether it is right after them. Pure: no device, no library call. What moves the bytes
// is worker.cc. Design note: client/perf/README.md, "what is checked".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "client/base/quantities.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

// Inputs begin at an element below this one, so that no two calls need have the same data.
inline constexpr uint32_t kFirstElementMax = 1 << 16;

enum class Placement { kInPlace, kOutOfPlace };

struct ArenaCall {
  nodecomm_type type = NODECOMM_FLOAT32;
  size_t count = 0;
  // The data: elements first_element and following of the reference.
  uint32_t first_element = 0;
  // Into the arena; equal if in place.
  size_t in_offset = 0;
  size_t out_offset = 0;

  size_t bytes() const { return count * TypeBytes(type); }
};

// Buffers in rising order, with a gap after each that nobody may write to.
class ArenaLayout {
 public:
  explicit ArenaLayout(ByteCount capacity) : capacity_(capacity) {}

  // Bytes that `Place` needs at most for a call.
  static ByteCount BytesNeeded(ByteCount message, Placement placement);

  // Misalignments count elements beyond a 256-byte boundary, 0 to kMisalignmentMax. False: no room,
  // nothing was placed.
  bool Place(nodecomm_type type, size_t count, Placement placement, size_t in_misalignment,
             size_t out_misalignment);

  std::span<ArenaCall> calls() { return calls_; }
  std::span<const ArenaCall> calls() const { return calls_; }
  ByteCount used() const { return used_; }

 private:
  size_t PlaceBuffer(size_t bytes, size_t misaligned_bytes);

  ByteCount capacity_;
  ByteCount used_{kGapBytes};
  std::vector<ArenaCall> calls_;

  static constexpr size_t kGapBytes = 256;
};

inline constexpr size_t kMisalignmentMax = 31;

// Inputs of `rank` in their places, poison everywhere else. `image` is layout.used() bytes long.
void FillImage(const ArenaLayout& layout, Rank rank, std::span<std::byte> image);

// The sums that must come out, of every element that calls of a type use: expected[type] + i *
// TypeBytes(type) is element i.
struct ExpectedSums {
  const std::byte* of_type[3] = {};
};

struct Verdict {
  uint64_t wrong = 0;  // elements; and bytes outside of outputs that have changed
  std::string first;   // the first of them in words; empty if none
};

// Compares every byte of the arena after the calls: outputs with the sums, bit for bit, inputs and
// gaps with what they were.
Verdict VerifyImage(const ArenaLayout& layout, Rank rank, const ExpectedSums& expected,
                    std::span<const std::byte> image);

}  // namespace nodecomm::perf
