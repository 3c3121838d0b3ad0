#include "kernels/float_conversion.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/kernels/reference.h"

namespace nodecomm::kernels {
namespace {

// Known bit patterns, so that reference and implementation cannot be wrong together.
TEST(FloatConversion, KnownValues) {
  EXPECT_EQ(FloatToFloat16(1.0f), 0x3c00);
  EXPECT_EQ(FloatToFloat16(-2.0f), 0xc000);
  EXPECT_EQ(FloatToFloat16(65504.0f), 0x7bff);
  EXPECT_EQ(FloatToFloat16(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToFloat16(0x1p-24f), 0x0001);
  EXPECT_EQ(FloatToFloat16(0x1p-25f), 0x0000);
  EXPECT_EQ(FloatToFloat16(-0.0f), 0x8000);
  EXPECT_EQ(FloatToBfloat16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBfloat16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(FloatToBfloat16(std::bit_cast<float>(0x3f808000u)), 0x3f80);
  EXPECT_EQ(FloatToBfloat16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_EQ(EncodeElement(ElementType::kFloat16, 65519.0f), 0x7bffu);
  EXPECT_EQ(EncodeElement(ElementType::kFloat16, 65520.0f), 0x7c00u);
  EXPECT_EQ(EncodeElement(ElementType::kBfloat16, std::bit_cast<float>(0x3f818000u)), 0x3f82u);
}

TEST(FloatConversion, EveryFloat16ComesBackUnchanged) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint16_t half = static_cast<uint16_t>(bits);
    const float value = Float16ToFloat(half);
    if (std::isnan(DecodeElement(ElementType::kFloat16, half))) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_EQ(FloatToFloat16(value), 0x7fff);
    } else {
      EXPECT_EQ(value, DecodeElement(ElementType::kFloat16, half));
      EXPECT_EQ(FloatToFloat16(value), half);
    }
  }
}

TEST(FloatConversion, RoundsAsTheReferenceDoesOverAllExponents) {
  // Every sign and exponent, with fractions at and around the ties of both types.
  for (uint32_t high = 0; high < 0x10000; high += 7) {
    for (const uint32_t low : {0x0000u, 0x0001u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u,
                               0x8001u, 0xf000u, 0xffffu}) {
      const float value = std::bit_cast<float>(high << 16 | low);
      if (std::isnan(value)) continue;
      ASSERT_EQ(FloatToFloat16(value), EncodeElement(ElementType::kFloat16, value)) << value;
      ASSERT_EQ(FloatToBfloat16(value), EncodeElement(ElementType::kBfloat16, value)) << value;
    }
  }
}

}  // namespace
}  // namespace nodecomm::kernels
