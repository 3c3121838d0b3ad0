// How far the sums that every rank gets, bit for bit, are from those of exact arithmetic.
#include "tests/kernels/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

namespace nodecomm::kernels {
namespace {

uint32_t BitsAt(const std::vector<uint8_t>& elements, size_t index, size_t size) {
  uint32_t bits = 0;
  std::memcpy(&bits, elements.data() + index * size, size);
  return bits;
}

// One rounding to float32 for each addition, and one to the type. The inputs are far from where a
// type has no normal numbers.
TEST(ReferenceSum, IsWithinItsRoundingsOfADoubleSum) {
  constexpr size_t kCount = 10'000;
  const std::pair<ElementType, double> types[] = {{ElementType::kFloat32, 0},
                                                  {ElementType::kFloat16, std::ldexp(1, -11)},
                                                  {ElementType::kBfloat16, std::ldexp(1, -8)}};
  std::mt19937 random(1);
  std::uniform_real_distribution<float> values(1, 8);
  for (const auto& [type, rounding] : types) {
    const size_t size = ElementBytes(type);
    for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
      std::vector<std::vector<uint8_t>> inputs(static_cast<size_t>(ranks));
      std::vector<double> exact(kCount);
      std::vector<double> magnitude(kCount);
      for (std::vector<uint8_t>& input : inputs) {
        input.resize(kCount * size);
        for (size_t i = 0; i < kCount; ++i) {
          const float value = (random() % 2 == 0 ? 1.0F : -1.0F) * values(random);
          const uint32_t bits = EncodeElement(type, value);
          std::memcpy(input.data() + i * size, &bits, size);
          exact[i] += DecodeElement(type, bits);
          magnitude[i] += std::abs(DecodeElement(type, bits));
        }
      }
      const std::vector<uint8_t> sums = ReferenceSum(type, inputs);
      for (size_t i = 0; i < kCount; ++i) {
        const double sum = DecodeElement(type, BitsAt(sums, i, size));
        const double additions = (ranks - 1) * std::ldexp(magnitude[i], -24);
        ASSERT_LE(std::abs(sum - exact[i]), additions + rounding * (std::abs(exact[i]) + additions))
            << ranks << " ranks, type " << static_cast<int>(type) << ": " << sum << " for "
            << exact[i];
      }
    }
  }
}

}  // namespace
}  // namespace nodecomm::kernels
