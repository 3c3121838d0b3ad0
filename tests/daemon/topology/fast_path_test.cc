// Every rule of the fast path, and what it makes of every topology that is shipped.
#include "daemon/topology/fast_path.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/topology/inventory.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::testing::HasSubstr;

constexpr v1::FastPathReason kSupported = v1::FAST_PATH_REASON_UNSPECIFIED;

v1::Host ShippedHost(const std::string& name) {
  const auto inventory =
      CreateFileInventory(absl::StrCat(NODECOMM_TOPOLOGY_DIR, "/", name, ".textproto"));
  EXPECT_OK(inventory);
  return inventory.ok() ? (*inventory)->Read().value_or(v1::Host()) : v1::Host();
}

// The UUIDs of the GPUs with these indices, in rank order.
std::vector<std::string> Uuids(const v1::Host& host, const std::vector<int>& gpus) {
  std::vector<std::string> uuids;
  for (const int gpu : gpus) uuids.push_back(host.gpus(gpu).uuid());
  return uuids;
}

struct Case {
  std::string name;
  std::string host;
  std::vector<int> gpus;  // of the ranks
  FastPathPolicy policy;
  std::function<void(v1::Host&)> change = [](v1::Host&) {};
  v1::FastPathReason reason = kSupported;
  std::string detail = "";  // a part of it
  v1::PeerProofs proofs = {};
};

void EveryLink(v1::Host& host, const std::function<void(v1::Link&)>& change) {
  for (v1::Link& link : *host.mutable_links()) change(link);
}

// The link from GPU 0 to GPU 1 in a shipped file.
v1::Link& FirstLink(v1::Host& host) { return *host.mutable_links(0); }

void MakePci(v1::Link& link) {
  link.set_kind(v1::LINK_KIND_PCI);
  link.set_nvlink_count(0);
}

class FastPathTable : public testing::TestWithParam<Case> {};

TEST_P(FastPathTable, Decides) {
  const Case& test = GetParam();
  v1::Host host = ShippedHost(test.host);
  test.change(host);
  const std::vector<std::string> uuids = Uuids(host, test.gpus);
  const v1::FastPath answer = DecideFastPath(host, test.proofs, uuids, test.policy);
  EXPECT_EQ(answer.supported(), test.reason == kSupported) << answer.detail();
  EXPECT_EQ(answer.reason(), test.reason) << answer.detail();
  if (test.reason == kSupported) {
    EXPECT_EQ(answer.detail(), "");
  } else {
    EXPECT_THAT(answer.detail(), HasSubstr(test.detail));
    const bool is_lost = test.reason == v1::FAST_PATH_REASON_GPU_LOST;
    EXPECT_THAT(answer.detail(), HasSubstr(is_lost ? "take another GPU" : "Use NCCL"));
  }
}

// What the topology alone decides.
const FastPathPolicy kStrict = {.trust_driver = true};
const FastPathPolicy kPci = {.allow_pci = true, .trust_driver = true};
const FastPathPolicy kSharing = {.allow_gpu_sharing = true, .trust_driver = true};
const auto kAsShipped = [](v1::Host&) {};

INSTANTIATE_TEST_SUITE_P(
    ShippedHosts, FastPathTable,
    testing::Values(Case{"X4With4", "hgx-h100-x4", {0, 1, 2, 3}, kStrict},
                    Case{"X4With2", "hgx-h100-x4", {3, 1}, kStrict},
                    Case{"X8With8", "hgx-h100-x8", {0, 1, 2, 3, 4, 5, 6, 7}, kStrict},
                    Case{"X8With3AcrossSockets", "hgx-h100-x8", {0, 4, 7}, kStrict},
                    Case{"Rtx4090With2",
                         "rtx-4090-x2",
                         {0, 1},
                         kPci,
                         kAsShipped,
                         v1::FAST_PATH_REASON_PEER_ACCESS,
                         "NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED"},
                    Case{"Rtx4090Alone", "rtx-4090-x2", {1}, kStrict},
                    Case{"H200VirtualMachine", "hgx-h200-x2-vm", {0, 1}, kStrict},
                    Case{"L4Alone", "l4-x1", {0}, kStrict},
                    Case{"L4Shared", "l4-x1", {0, 0}, kSharing}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    WorldSize, FastPathTable,
    testing::Values(Case{"None",
                         "hgx-h100-x4",
                         {},
                         kStrict,
                         kAsShipped,
                         v1::FAST_PATH_REASON_WORLD_SIZE,
                         "a group of 0 ranks"},
                    Case{"Nine",
                         "hgx-h100-x4",
                         {0, 0, 1, 1, 2, 2, 3, 3, 3},
                         kSharing,
                         kAsShipped,
                         v1::FAST_PATH_REASON_WORLD_SIZE,
                         "a group of 9 ranks"},
                    Case{"EightOnFour", "hgx-h100-x4", {0, 0, 1, 1, 2, 2, 3, 3}, kSharing}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Gpus, FastPathTable,
    testing::Values(
        Case{"Mig",
             "hgx-h100-x4",
             {0, 2},
             kStrict,
             [](v1::Host& host) { host.mutable_gpus(2)->set_mig_mode(v1::MIG_MODE_ENABLED); },
             v1::FAST_PATH_REASON_MIG,
             "rank 1 (GPU-51000000-0000-4000-8000-000000000002)"},
        Case{"MigOfAnotherGpu",
             "hgx-h100-x4",
             {0, 1},
             kStrict,
             [](v1::Host& host) { host.mutable_gpus(2)->set_mig_mode(v1::MIG_MODE_ENABLED); }},
        Case{"MigUnknown",
             "hgx-h100-x4",
             {0, 1},
             kStrict,
             [](v1::Host& host) { host.mutable_gpus(0)->set_mig_mode(v1::MIG_MODE_UNKNOWN); }},
        Case{"MigAlone",
             "hgx-h100-x4",
             {0},
             kStrict,
             [](v1::Host& host) { host.mutable_gpus(0)->set_mig_mode(v1::MIG_MODE_ENABLED); }},
        Case{"Turing",
             "hgx-h100-x4",
             {0, 1},
             kStrict,
             [](v1::Host& host) {
               host.mutable_gpus(1)->set_compute_capability_major(7);
               host.mutable_gpus(1)->set_compute_capability_minor(5);
             },
             v1::FAST_PATH_REASON_ARCHITECTURE,
             "compute capability 7.5"},
        Case{"Ampere",
             "hgx-h100-x4",
             {0, 1},
             kStrict,
             [](v1::Host& host) { host.mutable_gpus(1)->set_compute_capability_major(8); }},
        Case{"CapabilityUnknown",
             "hgx-h100-x4",
             {0, 1},
             kStrict,
             [](v1::Host& host) { host.mutable_gpus(1)->set_compute_capability_major(0); }}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(Sharing, FastPathTable,
                         testing::Values(Case{"NotAllowed",
                                              "hgx-h100-x4",
                                              {1, 1},
                                              kStrict,
                                              kAsShipped,
                                              v1::FAST_PATH_REASON_GPU_SHARING,
                                              "allow_gpu_sharing"},
                                         Case{"AllowedOnPciPair",
                                              "rtx-4090-x2",
                                              {0, 0, 1, 1},
                                              kSharing,
                                              [](v1::Host& host) {
                                                EveryLink(host, [](v1::Link& link) {
                                                  link.set_peer_access(v1::PEER_ACCESS_SUPPORTED);
                                                });
                                              }},
                                         Case{"AllowedButPairStillNeedsPeerAccess",
                                              "rtx-4090-x2",
                                              {0, 0, 1},
                                              kSharing,
                                              kAsShipped,
                                              v1::FAST_PATH_REASON_PEER_ACCESS,
                                              "rank 0"}),
                         [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    PeerAccess, FastPathTable,
    testing::Values(
        Case{"NoInOneDirection",
             "hgx-h100-x4",
             {1, 0},
             kStrict,
             [](v1::Host& host) {
               FirstLink(host).set_peer_access(v1::PEER_ACCESS_NOT_SUPPORTED);
               FirstLink(host).set_peer_access_reason("write: because");
             },
             v1::FAST_PATH_REASON_PEER_ACCESS,
             "rank 1 (GPU-51000000-0000-4000-8000-000000000000) and rank 0 "
             "(GPU-51000000-0000-4000-8000-000000000001): peer access from the first GPU to the "
             "second is not supported (write: because)"},
        Case{"UnknownOverNvlink",
             "hgx-h100-x4",
             {0, 1, 2, 3},
             kStrict,
             [](v1::Host& host) {
               EveryLink(host,
                         [](v1::Link& link) { link.set_peer_access(v1::PEER_ACCESS_UNKNOWN); });
             }},
        Case{"UnknownOverPci",
             "hgx-h100-x4",
             {0, 1},
             kPci,
             [](v1::Host& host) {
               MakePci(FirstLink(host));
               FirstLink(host).set_peer_access(v1::PEER_ACCESS_UNKNOWN);
             },
             v1::FAST_PATH_REASON_PEER_ACCESS,
             "is unknown (no reason given)"},
        Case{"LinkNotListed",
             "hgx-h100-x4",
             {0, 1},
             kStrict,
             [](v1::Host& host) { host.clear_links(); },
             v1::FAST_PATH_REASON_PEER_ACCESS,
             "unknown"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    FullyConnected, FastPathTable,
    testing::Values(Case{"TwoOverPci",
                         "hgx-h100-x4",
                         {0, 1},
                         kStrict,
                         [](v1::Host& host) { EveryLink(host, MakePci); }},
                    Case{"ThreeOverPci",
                         "hgx-h100-x4",
                         {0, 1, 2},
                         kStrict,
                         [](v1::Host& host) { EveryLink(host, MakePci); },
                         v1::FAST_PATH_REASON_NOT_FULLY_CONNECTED,
                         "rank 0"},
                    Case{"ThreeOverPciAllowed",
                         "hgx-h100-x4",
                         {0, 1, 2},
                         kPci,
                         [](v1::Host& host) { EveryLink(host, MakePci); }},
                    Case{"OnePairOfThreeOverPci",
                         "hgx-h100-x4",
                         {2, 1, 0},
                         kStrict,
                         [](v1::Host& host) { MakePci(FirstLink(host)); },
                         v1::FAST_PATH_REASON_NOT_FULLY_CONNECTED,
                         "rank 2 (GPU-51000000-0000-4000-8000-000000000000) and rank 1 "
                         "(GPU-51000000-0000-4000-8000-000000000001)"},
                    Case{"PciPairOutsideTheGroup",
                         "hgx-h100-x4",
                         {1, 2, 3},
                         kStrict,
                         [](v1::Host& host) { MakePci(FirstLink(host)); }},
                    Case{"OnePairOfThreeOfUnknownKind",
                         "hgx-h100-x4",
                         {0, 1, 2},
                         kStrict,
                         [](v1::Host& host) { FirstLink(host).set_kind(v1::LINK_KIND_UNKNOWN); },
                         v1::FAST_PATH_REASON_NOT_FULLY_CONNECTED,
                         "not known to be joined by NVLink"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Conditions, FastPathTable,
    testing::Values(
        Case{"Lost",
             "hgx-h100-x4",
             {0, 1},
             kStrict,
             [](v1::Host& host) {
               host.mutable_gpus(1)->set_condition(v1::GPU_CONDITION_LOST);
               host.mutable_gpus(1)->set_condition_reason("Xid 79");
             },
             v1::FAST_PATH_REASON_GPU_LOST,
             "rank 1 (GPU-51000000-0000-4000-8000-000000000001) is lost: Xid 79"},
        Case{
            "Draining",
            "hgx-h100-x4",
            {0, 1},
            kStrict,
            [](v1::Host& host) { host.mutable_gpus(0)->set_condition(v1::GPU_CONDITION_DRAINING); },
            v1::FAST_PATH_REASON_DRAINING,
            "out of service"},
        Case{"FabricNotReady",
             "hgx-h100-x4",
             {0, 1},
             kStrict,
             [](v1::Host& host) {
               host.mutable_gpus(1)->set_fabric_state(v1::FABRIC_STATE_IN_PROGRESS);
             },
             v1::FAST_PATH_REASON_FABRIC_NOT_READY,
             "fabricmanager"},
        Case{"FabricUnknown",
             "hgx-h100-x4",
             {0, 1},
             kStrict,
             [](v1::Host& host) {
               host.mutable_gpus(1)->set_fabric_state(v1::FABRIC_STATE_UNKNOWN);
             }},
        Case{"Disabled",
             "hgx-h100-x4",
             {0, 1},
             {.trust_driver = true, .disabled = true},
             kAsShipped,
             v1::FAST_PATH_REASON_DISABLED,
             "disable_fast_path"},
        Case{"DisabledAlone", "hgx-h100-x4", {0}, {.trust_driver = true, .disabled = true}}),
    [](const auto& info) { return info.param.name; });

// --- proofs

// Every ordered pair of the first four GPUs of hgx-h100-x4 proven, and `change` on top.
v1::PeerProofs Proofs(const std::function<void(v1::PeerProof&)>& change_first = [](v1::PeerProof&) {
}) {
  const v1::Host host = ShippedHost("hgx-h100-x4");
  v1::PeerProofs proofs;
  for (const v1::Link& link : host.links()) {
    v1::PeerProof* proof = proofs.add_proofs();
    proof->set_from_uuid(link.from_uuid());
    proof->set_to_uuid(link.to_uuid());
    proof->set_verdict(v1::PROOF_VERDICT_PROVEN);
    proof->set_write_gigabytes_per_second(350);
  }
  change_first(*proofs.mutable_proofs(0));
  return proofs;
}

const FastPathPolicy kProven;
const FastPathPolicy kLenient = {.allow_unproven = true};
const auto kFails = [](v1::PeerProof& proof) {
  proof.set_verdict(v1::PROOF_VERDICT_FAILED);
  proof.set_reason("byte 17 was wrong");
};
const auto kCouldNotRun = [](v1::PeerProof& proof) {
  proof.set_verdict(v1::PROOF_VERDICT_UNPROVEN);
  proof.set_reason("out of memory");
};
const auto kUnknownKind = [](v1::Host& host) {
  EveryLink(host, [](v1::Link& link) { link.set_kind(v1::LINK_KIND_UNKNOWN); });
};
const auto kUnknownOverPci = [](v1::Host& host) {
  EveryLink(host, [](v1::Link& link) {
    MakePci(link);
    link.set_peer_access(v1::PEER_ACCESS_UNKNOWN);
  });
};

INSTANTIATE_TEST_SUITE_P(
    Proof, FastPathTable,
    testing::Values(
        Case{"AllProven",
             "hgx-h100-x4",
             {0, 1, 2, 3},
             kProven,
             kAsShipped,
             kSupported,
             "",
             Proofs()},
        Case{"NoneTried",
             "hgx-h100-x4",
             {0, 1},
             kProven,
             kAsShipped,
             v1::FAST_PATH_REASON_UNPROVEN,
             "nodecommctl p2p check"},
        Case{"NoneTriedAlone", "hgx-h100-x4", {2}, kProven},
        Case{"OneDirectionFails",
             "hgx-h100-x4",
             {1, 0},
             kProven,
             kAsShipped,
             v1::FAST_PATH_REASON_PROOF_FAILED,
             "rank 1 (GPU-51000000-0000-4000-8000-000000000000) and rank 0 "
             "(GPU-51000000-0000-4000-8000-000000000001): peer access from the first GPU to the "
             "second was tried and is broken (byte 17 was wrong)",
             Proofs(kFails)},
        Case{"FailureOutsideTheGroup",
             "hgx-h100-x4",
             {1, 2, 3},
             kProven,
             kAsShipped,
             kSupported,
             "",
             Proofs(kFails)},
        Case{"FailureIsNotForgivenByPolicy",
             "hgx-h100-x4",
             {0, 1},
             kLenient,
             kAsShipped,
             v1::FAST_PATH_REASON_PROOF_FAILED,
             "byte 17",
             Proofs(kFails)},
        Case{"TrustInTheDriverSkipsProofs",
             "hgx-h100-x4",
             {0, 1},
             kStrict,
             kAsShipped,
             kSupported,
             "",
             Proofs(kFails)},
        Case{"CouldNotRun",
             "hgx-h100-x4",
             {0, 1},
             kProven,
             kAsShipped,
             v1::FAST_PATH_REASON_UNPROVEN,
             "out of memory",
             Proofs(kCouldNotRun)},
        Case{"CouldNotRunAllowed",
             "hgx-h100-x4",
             {0, 1},
             kLenient,
             kAsShipped,
             kSupported,
             "",
             Proofs(kCouldNotRun)},
        Case{"DriverSaysNo",
             "hgx-h100-x4",
             {0, 1},
             kProven,
             [](v1::Host& host) { FirstLink(host).set_peer_access(v1::PEER_ACCESS_NOT_SUPPORTED); },
             v1::FAST_PATH_REASON_PEER_ACCESS,
             "not supported",
             Proofs()},
        Case{"DriverDoesNotKnow",
             "hgx-h100-x4",
             {0, 1},
             kProven,
             kUnknownOverPci,
             kSupported,
             "",
             Proofs()},
        Case{"KindUnknownButFasterThanPci",
             "hgx-h100-x4",
             {0, 1, 2},
             kProven,
             kUnknownKind,
             kSupported,
             "",
             Proofs()},
        Case{"KindUnknownAndNotFasterThanPci",
             "hgx-h100-x4",
             {0, 1, 2},
             kProven,
             kUnknownKind,
             v1::FAST_PATH_REASON_NOT_FULLY_CONNECTED,
             "not known to be joined",
             Proofs([](v1::PeerProof& proof) { proof.set_write_gigabytes_per_second(50); })},
        Case{"PciIsPciHoweverFast",
             "hgx-h100-x4",
             {0, 1, 2},
             kProven,
             [](v1::Host& host) { EveryLink(host, MakePci); },
             v1::FAST_PATH_REASON_NOT_FULLY_CONNECTED,
             "not joined",
             Proofs()}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nodecomm
