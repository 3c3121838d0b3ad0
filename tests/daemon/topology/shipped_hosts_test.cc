// The verdict for every subset of GPUs of every host that is shipped, against a table made by hand:
// what the topology alone decides, without proofs.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/topology/fast_path.h"
#include "daemon/topology/inventory.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using Subset = std::vector<int>;  // indices into the host's list, ascending
using Reason = v1::FastPathReason;

constexpr Reason kYes = v1::FAST_PATH_REASON_UNSPECIFIED;
constexpr Reason kArchitecture = v1::FAST_PATH_REASON_ARCHITECTURE;
constexpr Reason kFabric = v1::FAST_PATH_REASON_FABRIC_NOT_READY;
constexpr Reason kMig = v1::FAST_PATH_REASON_MIG;
constexpr Reason kNotConnected = v1::FAST_PATH_REASON_NOT_FULLY_CONNECTED;
constexpr Reason kPeerAccess = v1::FAST_PATH_REASON_PEER_ACCESS;

struct Expected {
  std::string host;
  int gpus = 0;
  // Of a group of two and more; one GPU always gets the fast path.
  std::function<Reason(const Subset&)> reason;
  // Counted by hand, so that a rule that is wrong in both places shows.
  std::map<Reason, int> subsets;
};

std::function<Reason(const Subset&)> Always(Reason reason) {
  return [reason](const Subset&) { return reason; };
}

// PCIe somewhere: two GPUs may, more may not.
Reason PairsOnly(const Subset& subset) { return subset.size() == 2 ? kYes : kNotConnected; }

std::vector<Expected> Table() {
  return {
      // 2^n - 1 subsets, all fully joined.
      {"hgx-h100-x4", 4, Always(kYes), {{kYes, 15}}},
      {"hgx-h100-x8", 8, Always(kYes), {{kYes, 255}}},
      {"hgx-h200-x8", 8, Always(kYes), {{kYes, 255}}},
      {"hgx-h200-x2-vm", 2, Always(kYes), {{kYes, 3}}},
      {"hgx-a100-x8", 8, Always(kYes), {{kYes, 255}}},
      {"hgx-a100-x4", 4, Always(kYes), {{kYes, 15}}},
      {"gb200-x4", 4, Always(kYes), {{kYes, 15}}},
      {"l4-x1", 1, Always(kYes), {{kYes, 1}}},
      // V100 is too old, whatever its mesh: 8 alone, 247 not.
      {"dgx-1-v100", 8, Always(kArchitecture), {{kYes, 8}, {kArchitecture, 247}}},
      // 4 alone and 6 pairs; 4 triples and the 4 together hold a PCIe pair.
      {"a100-pcie-x4-bridged", 4, PairsOnly, {{kYes, 10}, {kNotConnected, 5}}},
      // 8 alone and 28 pairs; 219 more.
      {"l40s-x8", 8, PairsOnly, {{kYes, 36}, {kNotConnected, 219}}},
      {"rtx-4090-x2", 2, Always(kPeerAccess), {{kYes, 2}, {kPeerAccess, 1}}},
      // Nothing is known, and no proof is asked for.
      {"vm-h100-x4-unknown", 4, Always(kPeerAccess), {{kYes, 4}, {kPeerAccess, 11}}},
      // GPUs 0 and 1 are in MIG mode: 4 alone, and 2 with 3.
      {"hgx-a100-x4-mig",
       4,
       [](const Subset& subset) { return subset.front() >= 2 ? kYes : kMig; },
       {{kYes, 5}, {kMig, 10}}},
      {"hgx-h100-x8-fabric-starting", 8, Always(kFabric), {{kYes, 8}, {kFabric, 247}}},
  };
}

v1::Host Load(const std::string& name) {
  const auto inventory =
      CreateFileInventory(absl::StrCat(NODECOMM_TOPOLOGY_DIR, "/", name, ".textproto"));
  EXPECT_OK(inventory);
  return inventory.ok() ? (*inventory)->Read().value_or(v1::Host()) : v1::Host();
}

std::vector<Subset> AllSubsets(int gpus) {
  std::vector<Subset> subsets;
  for (unsigned mask = 1; mask < 1U << gpus; ++mask) {
    Subset& subset = subsets.emplace_back();
    for (int gpu = 0; gpu < gpus; ++gpu) {
      if ((mask >> gpu & 1U) != 0) subset.push_back(gpu);
    }
  }
  return subsets;
}

Reason Decide(const v1::Host& host, const Subset& subset) {
  std::vector<std::string> uuids;
  for (const int gpu : subset) uuids.push_back(host.gpus(gpu).uuid());
  return DecideFastPath(host, {}, uuids, {.trust_driver = true}).reason();
}

class ShippedHosts : public testing::TestWithParam<Expected> {};

TEST_P(ShippedHosts, GetTheVerdictOfTheTableForEverySubset) {
  const Expected& expected = GetParam();
  const v1::Host host = Load(expected.host);
  ASSERT_EQ(host.gpus_size(), expected.gpus);
  std::map<Reason, int> seen;
  for (Subset subset : AllSubsets(expected.gpus)) {
    const Reason reason = Decide(host, subset);
    EXPECT_EQ(reason, subset.size() == 1 ? kYes : expected.reason(subset))
        << absl::StrJoin(subset, ", ");
    ++seen[reason];
    // The order of ranks changes nothing.
    std::reverse(subset.begin(), subset.end());
    EXPECT_EQ(Decide(host, subset), reason) << absl::StrJoin(subset, ", ");
  }
  EXPECT_EQ(seen, expected.subsets);
}

INSTANTIATE_TEST_SUITE_P(Table, ShippedHosts, testing::ValuesIn(Table()), [](const auto& info) {
  std::string name = info.param.host;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(ShippedHosts, AreAllInTheTable) {
  std::set<std::string> shipped;
  for (const auto& entry : std::filesystem::directory_iterator(NODECOMM_TOPOLOGY_DIR)) {
    if (entry.path().extension() == ".textproto") shipped.insert(entry.path().stem());
  }
  std::set<std::string> listed;
  for (const Expected& expected : Table()) listed.insert(expected.host);
  EXPECT_EQ(shipped, listed);
}

// The cube mesh without its age: which subsets are fully joined is a matter of the links alone.
TEST(ShippedHosts, Dgx1IsJoinedOnlyInItsQuadsAndToItsTwins) {
  v1::Host host = Load("dgx-1-v100");
  for (v1::Gpu& gpu : *host.mutable_gpus()) gpu.set_compute_capability_major(8);
  std::map<size_t, int> joined;  // subsets by size
  for (const Subset& subset : AllSubsets(8)) {
    const bool in_a_quad = subset.back() < 4 || subset.front() >= 4;
    const bool twins = subset.size() == 2 && subset[1] - subset[0] == 4;
    EXPECT_EQ(Decide(host, subset) == kYes, in_a_quad || twins) << absl::StrJoin(subset, ", ");
    if (Decide(host, subset) == kYes) ++joined[subset.size()];
  }
  // 2 quads with 6 pairs each and 4 twins; 4 triples a quad; the quads.
  EXPECT_EQ(joined, (std::map<size_t, int>{{1, 8}, {2, 16}, {3, 8}, {4, 2}}));
}

}  // namespace
}  // namespace nodecomm
