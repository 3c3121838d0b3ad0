// See arena.h.
#include "client/perf/arena.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"
#include "client/perf/reference.h"

namespace nodecomm::perf {
namespace {

constexpr size_t kAlignment = 256;
// As an element of any type this is no value that a sum can have.
constexpr std::byte kPoison{0xa5};
// Elements compared at a time where the reference is made on the way.
constexpr size_t kPieceElements = 4096;

constexpr size_t AlignUp(size_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

uint32_t ElementBits(nodecomm_type type, const std::byte* at) {
  uint32_t bits = 0;
  std::memcpy(&bits, at, TypeBytes(type));
  return bits;
}

// Adds to one verdict what a rank finds, and words for the first.
class Judge {
 public:
  Judge(Rank rank, std::span<const std::byte> image) : rank_(rank), image_(image) {}

  // `expected` is `count` elements; `index` is the first one's place in the buffer.
  void CompareElements(const ArenaCall& call, const char* buffer, size_t offset, size_t index,
                       size_t count, const std::byte* expected) {
    const size_t size = TypeBytes(call.type);
    const std::byte* got = image_.data() + offset + index * size;
    if (std::memcmp(got, expected, count * size) == 0) return;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t is = ElementBits(call.type, got + i * size);
      const uint32_t should = ElementBits(call.type, expected + i * size);
      if (is == should) continue;
      if (verdict_.wrong++ > 0) continue;
      verdict_.first = absl::StrFormat(
          "rank %d, %d elements of %s %s, %s element %d: 0x%0*x, expected 0x%0*x", rank_.value,
          call.count, TypeName(call.type),
          call.in_offset == call.out_offset ? "in place" : "out of place", buffer, index + i,
          static_cast<int>(2 * size), is, static_cast<int>(2 * size), should);
    }
  }

  void CompareGap(size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      if (image_[i] == kPoison) continue;
      if (verdict_.wrong++ > 0) continue;
      verdict_.first = absl::StrFormat(
          "rank %d: the byte %d before the next buffer or end, outside of every buffer, was "
          "overwritten "
          "with 0x%02x",
          rank_.value, end - i, static_cast<int>(image_[i]));
    }
  }

  Verdict verdict() && { return std::move(verdict_); }

 private:
  const Rank rank_;
  const std::span<const std::byte> image_;
  Verdict verdict_;
};

void CompareInput(const ArenaCall& call, Rank rank, Judge* judge) {
  std::vector<std::byte> piece(kPieceElements * TypeBytes(call.type));
  for (size_t done = 0; done < call.count; done += kPieceElements) {
    const size_t count = std::min(kPieceElements, call.count - done);
    FillInput(call.type, rank, call.first_element + static_cast<uint32_t>(done), count,
              piece.data());
    judge->CompareElements(call, "input", call.in_offset, done, count, piece.data());
  }
}

}  // namespace

ByteCount ArenaLayout::BytesNeeded(ByteCount message, Placement placement) {
  const size_t buffer = message.value + 2 * kAlignment + kGapBytes;
  return {kGapBytes + (placement == Placement::kInPlace ? buffer : 2 * buffer)};
}

size_t ArenaLayout::PlaceBuffer(size_t bytes, size_t misaligned_bytes) {
  const size_t offset = AlignUp(used_.value) + misaligned_bytes;
  used_.value = offset + bytes + kGapBytes;
  return offset;
}

bool ArenaLayout::Place(nodecomm_type type, size_t count, Placement placement,
                        size_t in_misalignment, size_t out_misalignment) {
  const ByteCount used_before = used_;
  ArenaCall call{.type = type, .count = count};
  call.in_offset = PlaceBuffer(call.bytes(), in_misalignment * TypeBytes(type));
  call.out_offset = placement == Placement::kInPlace
                        ? call.in_offset
                        : PlaceBuffer(call.bytes(), out_misalignment * TypeBytes(type));
  if (used_ > capacity_) {
    used_ = used_before;
    return false;
  }
  calls_.push_back(call);
  return true;
}

void FillImage(const ArenaLayout& layout, Rank rank, std::span<std::byte> image) {
  std::memset(image.data(), static_cast<int>(kPoison), image.size());
  for (const ArenaCall& call : layout.calls()) {
    FillInput(call.type, rank, call.first_element, call.count, image.data() + call.in_offset);
  }
}

Verdict VerifyImage(const ArenaLayout& layout, Rank rank, const ExpectedSums& expected,
                    std::span<const std::byte> image) {
  Judge judge(rank, image);
  size_t gap = 0;
  for (const ArenaCall& call : layout.calls()) {
    judge.CompareGap(gap, call.in_offset);
    if (call.in_offset != call.out_offset) {
      CompareInput(call, rank, &judge);
      judge.CompareGap(call.in_offset + call.bytes(), call.out_offset);
    }
    const std::byte* sums =
        expected.of_type[call.type] + size_t{call.first_element} * TypeBytes(call.type);
    judge.CompareElements(call, "output", call.out_offset, 0, call.count, sums);
    gap = call.out_offset + call.bytes();
  }
  judge.CompareGap(gap, image.size());
  return std::move(judge).verdict();
}

}  // namespace nodecomm::perf
