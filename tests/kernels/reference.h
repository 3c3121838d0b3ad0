// What an all-reduce should give, computed another way than the kernels do, and inputs that try
// their edges. Not used by the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "client/base/quantities.h"
#include "kernels/element.h"

namespace nodecomm::kernels {

// Sparse inputs are zero but for one element in a hundred or so: whole packets of zeros.
enum class Density { kDense, kSparse };

// `count` elements as raw bytes: small integers, wide floats, zeros of both signs, subnormals and
// (rarely) infinities; different for every rank and seed.
std::vector<uint8_t> MakeInput(ElementType type, size_t count, Rank rank, uint64_t seed,
                               Density density);

// The sum of the ranks' inputs: float32, in rank order, rounded once to `type`.
std::vector<uint8_t> ReferenceSum(ElementType type,
                                  const std::vector<std::vector<uint8_t>>& inputs);

// How many elements differ in their bits; any NaN equals any other.
size_t CountDifferent(ElementType type, const uint8_t* actual,
                      const std::vector<uint8_t>& expected);

// One value; exposed so that the reference itself can be tested.
float DecodeElement(ElementType type, uint32_t bits);
uint32_t EncodeElement(ElementType type, float value);

}  // namespace nodecomm::kernels
