#include "daemon/proof/rounds.h"

#include <algorithm>
#include <numeric>

namespace nodecomm {

std::vector<std::vector<IndexPair>> DisjointRounds(size_t count) {
  // An odd one out rests in each round: it meets the place that nobody has.
  if (count < 2) return {};
  std::vector<size_t> circle(count + count % 2);
  std::iota(circle.begin(), circle.end(), 0);
  std::vector<std::vector<IndexPair>> rounds;
  for (size_t round = 0; round + 1 < circle.size(); ++round) {
    std::vector<IndexPair>& pairs = rounds.emplace_back();
    for (size_t i = 0; i < circle.size() / 2; ++i) {
      const auto [a, b] = std::minmax(circle[i], circle[circle.size() - 1 - i]);
      if (b < count) pairs.emplace_back(a, b);
    }
    // The first stays, the others move on by one place.
    std::rotate(circle.begin() + 1, circle.end() - 1, circle.end());
  }
  return rounds;
}

}  // namespace nodecomm
