// Every pair once, nobody twice in a round, no more rounds than needed.
#include "daemon/proof/rounds.h"

#include <gtest/gtest.h>

#include <set>

namespace nodecomm {
namespace {

class Rounds : public testing::TestWithParam<size_t> {};

TEST_P(Rounds, HaveEveryPairOnceAndNobodyTwiceAtATime) {
  const size_t count = GetParam();
  std::set<IndexPair> seen;
  const auto rounds = DisjointRounds(count);
  for (const auto& round : rounds) {
    std::set<size_t> busy;
    for (const auto& [a, b] : round) {
      EXPECT_LT(a, b);
      EXPECT_LT(b, count);
      EXPECT_TRUE(busy.insert(a).second);
      EXPECT_TRUE(busy.insert(b).second);
      EXPECT_TRUE(seen.emplace(a, b).second);
    }
  }
  EXPECT_EQ(seen.size(), count < 2 ? 0 : count * (count - 1) / 2);
  EXPECT_EQ(rounds.size(), count < 2 ? 0 : (count % 2 == 0 ? count - 1 : count));
}

INSTANTIATE_TEST_SUITE_P(Counts, Rounds, testing::Values(0, 1, 2, 3, 4, 5, 7, 8, 16));

}  // namespace
}  // namespace nodecomm
