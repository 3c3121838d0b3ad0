// Which pairs can be tried at the same time: those that have no GPU in common.
// Not a search: the circle method of round-robin tournaments.
// Source: https://en.wikipedia.org/wiki/Round-robin_tournament#Circle_method.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace nodecomm {

using IndexPair = std::pair<size_t, size_t>;

// All unordered pairs of `count` things, in as few rounds as there can be; no thing is twice in a
// round.
std::vector<std::vector<IndexPair>> DisjointRounds(size_t count);

}  // namespace nodecomm
