// See reference.h. The loops are plain and without branches, so that compilers vectorise them.
#include "client/perf/reference.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace nodecomm::perf {
namespace {

// Bits of a float's significand that the type can hold.
constexpr uint32_t SignificandMask(nodecomm_type type) {
  switch (type) {
    case NODECOMM_FLOAT32:
      return 0x7fffff;
    case NODECOMM_FLOAT16:
      return 0x7fe000;
    case NODECOMM_BFLOAT16:
      return 0x7f0000;
  }
  return 0;
}

// Spreads (rank, index) over 32 bits: every bit of the input changes about half of the output's.
inline uint32_t Hash(uint32_t rank, uint32_t index) {
  uint32_t h = index * 0x9e3779b1u + (rank + 1) * 0x632be5abu;
  h = (h ^ (h >> 16)) * 0x21f0aaadu;
  h = (h ^ (h >> 15)) * 0x735a2d97u;
  return h ^ (h >> 15);
}

inline float Value(uint32_t significand_mask, uint32_t rank, uint32_t index) {
  const uint32_t h = Hash(rank, index);
  const uint32_t sign = h & 0x80000000u;
  // Exponents 123 to 130 are the magnitudes 2^-4 to 2^4.
  const uint32_t full = (123 + ((h >> 2) & 7)) << 23 | ((h >> 5) & significand_mask);
  const uint32_t halves = std::bit_cast<uint32_t>(static_cast<float>((h >> 8) & 15) * 0.5f);
  const uint32_t magnitude = (h & 3) == 0 ? full : halves;
  // Adding +0 makes -0 positive; adding -0 changes nothing.
  return std::bit_cast<float>(sign | magnitude) + (rank == 0 ? 0.0f : -0.0f);
}

// Sums and values are made in pieces of this many elements, which stay in the nearest cache.
constexpr size_t kPiece = 1024;
using Piece = std::array<float, kPiece>;

void StorePiece(nodecomm_type type, const Piece& piece, size_t count, std::byte* out) {
  if (type == NODECOMM_FLOAT32) {
    std::memcpy(out, piece.data(), count * sizeof(float));
    return;
  }
  std::array<uint16_t, kPiece> bits;
  if (type == NODECOMM_FLOAT16) {
    for (size_t i = 0; i < count; ++i) bits[i] = HalfFromFloat(piece[i]);
  } else {
    for (size_t i = 0; i < count; ++i) bits[i] = BfloatFromFloat(piece[i]);
  }
  std::memcpy(out, bits.data(), count * sizeof(uint16_t));
}

// Sums ranks first_rank to end_rank, in this order.
void FillSums(nodecomm_type type, uint32_t first_rank, uint32_t end_rank, uint32_t first,
              size_t count, std::byte* out) {
  const uint32_t mask = SignificandMask(type);
  Piece sums;
  for (size_t done = 0; done < count; done += kPiece) {
    const size_t piece = std::min(kPiece, count - done);
    const uint32_t base = first + static_cast<uint32_t>(done);
    for (uint32_t i = 0; i < piece; ++i) sums[i] = Value(mask, first_rank, base + i);
    for (uint32_t rank = first_rank + 1; rank < end_rank; ++rank) {
      for (uint32_t i = 0; i < piece; ++i) sums[i] += Value(mask, rank, base + i);
    }
    StorePiece(type, sums, piece, out + done * TypeBytes(type));
  }
}

}  // namespace

uint16_t HalfFromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // A normal half: move the exponent's bias, and round at bit 13.
  const uint32_t normal =
      (magnitude - (uint32_t{127 - 15} << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  // A subnormal half is a multiple of 2^-24, which is the last bit of 0.5f: the addition rounds.
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) -
                             std::bit_cast<uint32_t>(0.5f);
  uint32_t result = magnitude < 0x38800000u ? subnormal : normal;
  // From 65520 on, half way between the largest half and the next power of two, it is infinity.
  result = magnitude >= 0x477ff000u ? 0x7c00u : result;
  result = magnitude > 0x7f800000u ? 0x7e00u : result;
  return static_cast<uint16_t>(sign | result);
}

uint16_t BfloatFromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(nan ? (bits >> 16) | 0x40u : rounded);
}

float InputValue(nodecomm_type type, Rank rank, uint32_t index) {
  return Value(SignificandMask(type), static_cast<uint32_t>(rank.value), index);
}

void FillInput(nodecomm_type type, Rank rank, uint32_t first, size_t count, std::byte* out) {
  const auto r = static_cast<uint32_t>(rank.value);
  FillSums(type, r, r + 1, first, count, out);
}

void FillExpected(nodecomm_type type, WorldSize ranks, uint32_t first, size_t count,
                  std::byte* out) {
  FillSums(type, 0, static_cast<uint32_t>(ranks.value), first, count, out);
}

}  // namespace nodecomm::perf
