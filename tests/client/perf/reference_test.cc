// The checker's own arithmetic: conversions against known values, inputs and sums against their
// definition. See client/perf/reference.h. Design note: client/perf/README.md.
#include "client/perf/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace nodecomm::perf {
namespace {

float FloatFromHalf(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int significand = bits & 1023;
  const float magnitude =
      exponent == 0 ? std::ldexp(significand, -24) : std::ldexp(1024 + significand, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(HalfFromFloat, KnownValues) {
  EXPECT_EQ(HalfFromFloat(0.0f), 0x0000);
  EXPECT_EQ(HalfFromFloat(-0.0f), 0x8000);
  EXPECT_EQ(HalfFromFloat(1.0f), 0x3c00);
  EXPECT_EQ(HalfFromFloat(-2.0f), 0xc000);
  EXPECT_EQ(HalfFromFloat(0.333251953125f), 0x3555);
  EXPECT_EQ(HalfFromFloat(65504.0f), 0x7bff);
  EXPECT_EQ(HalfFromFloat(0x1p-14f), 0x0400);
  EXPECT_EQ(HalfFromFloat(0x1p-24f), 0x0001);
  EXPECT_EQ(HalfFromFloat(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_EQ(HalfFromFloat(-std::numeric_limits<float>::infinity()), 0xfc00);
  EXPECT_EQ(HalfFromFloat(std::numeric_limits<float>::quiet_NaN()) & 0x7fff, 0x7e00);
}

TEST(HalfFromFloat, RoundsTiesToEven) {
  EXPECT_EQ(HalfFromFloat(1.0f + 0x1p-11f), 0x3c00);             // between 0x3c00 and 0x3c01
  EXPECT_EQ(HalfFromFloat(1.0f + 3 * 0x1p-11f), 0x3c02);         // between 0x3c01 and 0x3c02
  EXPECT_EQ(HalfFromFloat(1.0f + 0x1p-11f + 0x1p-23f), 0x3c01);  // just above
  EXPECT_EQ(HalfFromFloat(0x1p-25f), 0x0000);                    // half the least subnormal
  EXPECT_EQ(HalfFromFloat(std::nextafter(0x1p-25f, 1.0f)), 0x0001);
  EXPECT_EQ(HalfFromFloat(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  EXPECT_EQ(HalfFromFloat(65520.0f), 0x7c00);
}

TEST(HalfFromFloat, EveryHalfComesBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7c00) == 0x7c00) continue;
    ASSERT_EQ(HalfFromFloat(FloatFromHalf(static_cast<uint16_t>(bits))), bits);
  }
}

TEST(BfloatFromFloat, KnownValues) {
  EXPECT_EQ(BfloatFromFloat(0.0f), 0x0000);
  EXPECT_EQ(BfloatFromFloat(-0.0f), 0x8000);
  EXPECT_EQ(BfloatFromFloat(1.0f), 0x3f80);
  EXPECT_EQ(BfloatFromFloat(-3.0f), 0xc040);
  EXPECT_EQ(BfloatFromFloat(std::numeric_limits<float>::infinity()), 0x7f80);
  EXPECT_EQ(BfloatFromFloat(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_GT(BfloatFromFloat(std::numeric_limits<float>::quiet_NaN()) & 0x7fff, 0x7f80);
}

TEST(BfloatFromFloat, RoundsTiesToEven) {
  EXPECT_EQ(BfloatFromFloat(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(BfloatFromFloat(1.0f + 3 * 0x1p-8f), 0x3f82);
  EXPECT_EQ(BfloatFromFloat(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81);
}

TEST(InputValue, IsExactInItsType) {
  for (uint32_t i = 0; i < 20000; ++i) {
    const float half = InputValue(NODECOMM_FLOAT16, Rank{1}, i);
    ASSERT_EQ(FloatFromHalf(HalfFromFloat(half)), half);
    const float bfloat = InputValue(NODECOMM_BFLOAT16, Rank{1}, i);
    uint32_t bits;
    std::memcpy(&bits, &bfloat, sizeof(bits));
    ASSERT_EQ(bits & 0xffff, 0u);
  }
}

TEST(InputValue, HasZerosOfBothSignsAndNegativesAndFractions) {
  int positive_zeros = 0, negative_zeros = 0, negatives = 0, fractions = 0;
  for (uint32_t i = 0; i < 20000; ++i) {
    const float value = InputValue(NODECOMM_FLOAT32, Rank{1}, i);
    if (value == 0) ++(std::signbit(value) ? negative_zeros : positive_zeros);
    if (value < 0) ++negatives;
    if (value * 2 != std::floor(value * 2)) ++fractions;
    ASSERT_LT(std::abs(value), 16.0f);
    // A sum of negative zeros alone has no agreed sign.
    const float of_rank_0 = InputValue(NODECOMM_FLOAT32, Rank{0}, i);
    ASSERT_FALSE(of_rank_0 == 0 && std::signbit(of_rank_0));
  }
  EXPECT_GT(positive_zeros, 200);
  EXPECT_GT(negative_zeros, 200);
  EXPECT_GT(negatives, 8000);
  EXPECT_GT(fractions, 4000);
}

TEST(InputValue, DiffersBetweenRanksAndNeighbours) {
  int same_rank = 0, same_neighbour = 0;
  for (uint32_t i = 0; i < 10000; ++i) {
    const float value = InputValue(NODECOMM_FLOAT32, Rank{2}, i);
    same_rank += value == InputValue(NODECOMM_FLOAT32, Rank{3}, i);
    same_neighbour += value == InputValue(NODECOMM_FLOAT32, Rank{2}, i + 1);
  }
  EXPECT_LT(same_rank, 500);
  EXPECT_LT(same_neighbour, 500);
}

TEST(FillExpected, IsTheSumInRankOrderRoundedOnce) {
  constexpr uint32_t kFirst = 77;
  constexpr size_t kCount = 5000;  // more than one piece, and no multiple of one
  for (nodecomm_type type : {NODECOMM_FLOAT32, NODECOMM_FLOAT16, NODECOMM_BFLOAT16}) {
    std::vector<std::byte> sums(kCount * TypeBytes(type));
    FillExpected(type, WorldSize{5}, kFirst, kCount, sums.data());
    for (uint32_t i = 0; i < kCount; ++i) {
      float sum = InputValue(type, Rank{0}, kFirst + i);
      for (int rank = 1; rank < 5; ++rank) sum += InputValue(type, Rank{rank}, kFirst + i);
      uint32_t expected = 0;
      if (type == NODECOMM_FLOAT32) std::memcpy(&expected, &sum, sizeof(sum));
      if (type == NODECOMM_FLOAT16) expected = HalfFromFloat(sum);
      if (type == NODECOMM_BFLOAT16) expected = BfloatFromFloat(sum);
      uint32_t got = 0;
      std::memcpy(&got, sums.data() + i * TypeBytes(type), TypeBytes(type));
      ASSERT_EQ(got, expected) << TypeName(type) << " element " << i;
    }
  }
}

// The check could not tell wrong orders from the right one if sums never depended on it.
TEST(FillExpected, DependsOnTheOrderOfTheRanks) {
  int differ = 0;
  for (uint32_t i = 0; i < 20000; ++i) {
    float forwards = 0, backwards = 0;
    for (int rank = 0; rank < 4; ++rank) {
      forwards += InputValue(NODECOMM_FLOAT32, Rank{rank}, i);
      backwards += InputValue(NODECOMM_FLOAT32, Rank{3 - rank}, i);
    }
    differ += forwards != backwards;
  }
  EXPECT_GT(differ, 50);
}

}  // namespace
}  // namespace nodecomm::perf
