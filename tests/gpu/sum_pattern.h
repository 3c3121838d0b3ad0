// Inputs of an all-reduce of any size, and what it should give: blocks of the kernels' reference,
// repeated, since that reference is too slow for large messages. Through the public types alone.
#pragma once

#include <gmock/gmock.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "nodecomm/nodecomm.hpp"

namespace nodecomm {

size_t ElementBytes(DataType type);

// Blocks of a length that no kernel's step divides.
struct SumPattern {
  SumPattern(DataType type, int ranks);

  std::vector<std::vector<uint8_t>> inputs;  // a block of every rank
  std::vector<uint8_t> sums;
  std::vector<uint8_t> sums_of_sums;  // where `sums` are the input of every rank
};

// The first `bytes` of the block, written again and again.
std::vector<uint8_t> Repeat(const std::vector<uint8_t>& block, size_t bytes);

// Bit by bit.
MATCHER_P(Repeats, block, "repeats a block") {
  for (size_t begin = 0; begin < arg.size(); begin += block.size()) {
    const size_t bytes = std::min(block.size(), arg.size() - begin);
    if (std::memcmp(arg.data() + begin, block.data(), bytes) == 0) continue;
    size_t at = 0;
    while (arg[begin + at] == block[at]) ++at;
    *result_listener << "differs first in byte " << begin + at << " of " << arg.size();
    return false;
  }
  return true;
}

// Of statuses of the public API.
MATCHER_P2(Fails, code, message_matcher, "") {
  *result_listener << arg.ToString();
  return arg.code() == code &&
         ::testing::ExplainMatchResult(message_matcher, arg.message(), result_listener);
}
MATCHER(Succeeds, "succeeds") {
  *result_listener << arg.ToString();
  return arg.ok();
}

}  // namespace nodecomm
