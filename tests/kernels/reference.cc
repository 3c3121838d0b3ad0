#include "tests/kernels/reference.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace nodecomm::kernels {
namespace {

float DecodeFloat16(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 0x1f);
  const int fraction = static_cast<int>(bits & 0x3ff);
  const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) {
    return fraction != 0 ? std::numeric_limits<float>::quiet_NaN()
                         : sign * std::numeric_limits<float>::infinity();
  }
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
}

// Rounds by comparing distances to the two neighbours in double, where both differences are exact.
uint32_t EncodeByNeighbours(float magnitude, uint32_t infinity_bits, float (*decode)(uint32_t)) {
  uint32_t low = 0;
  uint32_t high = infinity_bits;
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (decode(middle) <= magnitude ? low : high) = middle;
  }
  // Infinity stands for the power of two that would come next.
  const double below = decode(low);
  const double above = high == infinity_bits ? 2 * static_cast<double>(decode(infinity_bits - 1)) -
                                                   decode(infinity_bits - 2)
                                             : decode(high);
  const double to_low = magnitude - below;
  const double to_high = above - magnitude;
  if (to_low != to_high) return to_low < to_high ? low : high;
  return (low & 1) == 0 ? low : high;
}

float DecodeBfloat16(uint32_t bits) { return std::bit_cast<float>(bits << 16); }

uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

float MakeValue(ElementType type, uint64_t random) {
  const uint64_t kind = random & 0xff;
  const double unit = static_cast<double>(random >> 32) * 0x1p-32 - 0.5;
  if (kind == 0) return 0.0f;
  if (kind == 1) return -0.0f;
  if (kind == 2) {
    // A subnormal of the type.
    return DecodeElement(type, static_cast<uint32_t>(random >> 40 & 0x3f) + 1);
  }
  if (kind == 3 && (random >> 8 & 0xff) == 0) return std::numeric_limits<float>::infinity();
  if (kind < 128) return static_cast<float>(std::floor(unit * 64.0)) * 0.5f;
  return static_cast<float>(unit * std::exp2(static_cast<double>(random >> 8 & 0xf) - 8.0));
}

uint32_t LoadBits(ElementType type, const uint8_t* bytes, size_t index) {
  if (type == ElementType::kFloat32) {
    uint32_t bits;
    std::memcpy(&bits, bytes + index * 4, 4);
    return bits;
  }
  uint16_t bits;
  std::memcpy(&bits, bytes + index * 2, 2);
  return bits;
}

void StoreBits(ElementType type, uint8_t* bytes, size_t index, uint32_t bits) {
  const size_t size = ElementBytes(type);
  std::memcpy(bytes + index * size, &bits, size);  // little-endian
}

}  // namespace

float DecodeElement(ElementType type, uint32_t bits) {
  switch (type) {
    case ElementType::kFloat32:
      return std::bit_cast<float>(bits);
    case ElementType::kFloat16:
      return DecodeFloat16(bits);
    case ElementType::kBfloat16:
      return DecodeBfloat16(bits);
  }
  return 0;
}

uint32_t EncodeElement(ElementType type, float value) {
  if (type == ElementType::kFloat32) return std::bit_cast<uint32_t>(value);
  const bool half = type == ElementType::kFloat16;
  const uint32_t infinity = half ? 0x7c00 : 0x7f80;
  if (std::isnan(value)) return 0x7fff;
  const uint32_t sign = std::signbit(value) ? 0x8000 : 0;
  const float magnitude = std::fabs(value);
  if (std::isinf(magnitude)) return sign | infinity;
  return sign | EncodeByNeighbours(magnitude, infinity, half ? DecodeFloat16 : DecodeBfloat16);
}

std::vector<uint8_t> MakeInput(ElementType type, size_t count, Rank rank, uint64_t seed,
                               Density density) {
  std::vector<uint8_t> bytes(count * ElementBytes(type));
  const uint64_t stream = Mix(seed * 64 + static_cast<uint64_t>(rank.value));
  for (size_t i = 0; i < count; ++i) {
    const uint64_t random = Mix(stream + i);
    if (density == Density::kSparse && random % 101 != 0) continue;
    StoreBits(type, bytes.data(), i, EncodeElement(type, MakeValue(type, random)));
  }
  return bytes;
}

std::vector<uint8_t> ReferenceSum(ElementType type,
                                  const std::vector<std::vector<uint8_t>>& inputs) {
  const size_t count = inputs[0].size() / ElementBytes(type);
  std::vector<uint8_t> sums(inputs[0].size());
  for (size_t i = 0; i < count; ++i) {
    volatile float sum = DecodeElement(type, LoadBits(type, inputs[0].data(), i));
    for (size_t r = 1; r < inputs.size(); ++r) {
      sum = sum + DecodeElement(type, LoadBits(type, inputs[r].data(), i));
    }
    StoreBits(type, sums.data(), i, EncodeElement(type, sum));
  }
  return sums;
}

size_t CountDifferent(ElementType type, const uint8_t* actual,
                      const std::vector<uint8_t>& expected) {
  if (expected.empty() || std::memcmp(actual, expected.data(), expected.size()) == 0) return 0;
  size_t different = 0;
  for (size_t i = 0; i < expected.size() / ElementBytes(type); ++i) {
    const uint32_t a = LoadBits(type, actual, i);
    const uint32_t e = LoadBits(type, expected.data(), i);
    const bool both_nan = std::isnan(DecodeElement(type, a)) && std::isnan(DecodeElement(type, e));
    if (a != e && !both_nan) ++different;
  }
  return different;
}

}  // namespace nodecomm::kernels
