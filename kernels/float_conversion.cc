#include "kernels/float_conversion.h"

#include <bit>
#include <cmath>

namespace nodecomm::kernels {

float Float16ToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = half >> 10 & 0x1fu;
  const uint32_t fraction = half & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) {
    // Subnormal: fraction * 2^-24, exact in float32.
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t FloatToFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return 0x7fff;
  // 65520 is half way between the largest float16 and the next power of two; it rounds to infinity.
  if (magnitude >= 65520.0f) return sign | 0x7c00u;
  if (magnitude < 0x1p-14f) {
    // Subnormal result: adding 0.5 aligns the last bit of the sum with 2^-24, so the addition
    // itself rounds to even.
    const uint32_t aligned = std::bit_cast<uint32_t>(magnitude + 0.5f);
    return sign | static_cast<uint16_t>(aligned - std::bit_cast<uint32_t>(0.5f));
  }
  const uint32_t magnitude_bits = bits & 0x7fffffffu;
  const uint32_t round = 0xfffu + (magnitude_bits >> 13 & 1u);
  return sign | static_cast<uint16_t>((magnitude_bits + round - (112u << 23)) >> 13);
}

uint16_t FloatToBfloat16(float value) {
  if (std::isnan(value)) return 0x7fff;
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace nodecomm::kernels
