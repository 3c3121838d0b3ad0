// What every rank puts in, and what must come out, bit for bit: computed on the host, by code that
// shares nothing with the kernels. Not a comparison: that is arena.h. Design note:
// client/perf/README.md, "what is checked".
#pragma once

#include <cstddef>
#include <cstdint>

#include "client/base/quantities.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

// The nearest value of the type; ties go to the even one.
uint16_t HalfFromFloat(float value);
uint16_t BfloatFromFloat(float value);

// Element `index` of what `rank` puts in; any rank can compute any other's. Exact in `type`. Three
// quarters are whole numbers and halves from -7.5 to 7.5, whose sums are exact; the others have
// every bit of the significand in use and magnitudes from 2^-4 to 2^4, so that a sum in another
// order, or rounded twice, shows. Zeros come with both signs, but rank 0's are positive: so no sum
// is of negative zeros alone, whose sign would depend on what the sum starts from.
float InputValue(nodecomm_type type, Rank rank, uint32_t index);

// Elements `first` to `first + count` of what `rank` puts in, as bits of `type`, to `out`.
void FillInput(nodecomm_type type, Rank rank, uint32_t first, size_t count, std::byte* out);

// The same elements of the all-reduce: summed in float32 in rank order, rounded once.
void FillExpected(nodecomm_type type, WorldSize ranks, uint32_t first, size_t count,
                  std::byte* out);

}  // namespace nodecomm::perf
