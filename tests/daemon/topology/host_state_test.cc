// What the daemon remembers of the host between readings.
#include "daemon/topology/host_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/topology/admission.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

v1::Host HostWith(const std::vector<std::string>& uuids) {
  v1::Host host;
  for (const std::string& uuid : uuids) host.add_gpus()->set_uuid(uuid);
  return host;
}

TEST(HostState, TakesFreshFacts) {
  HostState state(HostWith({"GPU-a"}));
  v1::Host fresh = HostWith({"GPU-a"});
  fresh.mutable_gpus(0)->set_mig_mode(v1::MIG_MODE_ENABLED);
  EXPECT_THAT(state.Update(fresh), IsEmpty());
  EXPECT_EQ(state.host().gpus(0).mig_mode(), v1::MIG_MODE_ENABLED);
}

TEST(HostState, GpuThatIsNoLongerListedIsLostOnce) {
  HostState state(HostWith({"GPU-a", "GPU-b"}));
  EXPECT_THAT(state.Update(HostWith({"GPU-b"})), ElementsAre("GPU-a"));
  const v1::Host host = state.host();
  ASSERT_EQ(host.gpus_size(), 2);
  EXPECT_EQ(host.gpus(1).uuid(), "GPU-a");
  EXPECT_EQ(host.gpus(1).condition(), v1::GPU_CONDITION_LOST);
  EXPECT_THAT(host.gpus(1).condition_reason(), HasSubstr("no longer lists"));
  EXPECT_THAT(state.Update(HostWith({"GPU-b"})), IsEmpty());
}

TEST(HostState, GpuThatTheReadingCallsLostIsToldOnce) {
  HostState state(HostWith({"GPU-a"}));
  v1::Host fresh = HostWith({"GPU-a"});
  fresh.mutable_gpus(0)->set_condition(v1::GPU_CONDITION_LOST);
  EXPECT_THAT(state.Update(fresh), ElementsAre("GPU-a"));
  EXPECT_THAT(state.Update(fresh), IsEmpty());
}

TEST(HostState, ConditionOutlivesReadingsUntilItIsTakenBack) {
  HostState state(HostWith({"GPU-a"}));
  state.SetCondition("GPU-a", v1::GPU_CONDITION_LOST, "Xid 79");
  EXPECT_THAT(state.Update(HostWith({"GPU-a"})), IsEmpty());
  EXPECT_EQ(state.host().gpus(0).condition_reason(), "Xid 79");
  state.SetCondition("GPU-a", v1::GPU_CONDITION_UNSPECIFIED, "");
  state.Update(HostWith({"GPU-a"}));
  EXPECT_EQ(state.host().gpus(0).condition(), v1::GPU_CONDITION_UNSPECIFIED);
}

TEST(HostState, CountsLinkErrorsSinceTheFirstReading) {
  const auto host_with = [](uint64_t errors) {
    v1::Host host = HostWith({"GPU-a", "GPU-b"});  // GPU-b does not say
    host.mutable_gpus(0)->set_nvlink_errors(errors);
    return host;
  };
  HostState state(host_with(10));
  EXPECT_THAT(state.NewLinkErrors(), IsEmpty());
  state.Update(host_with(13));
  EXPECT_THAT(state.NewLinkErrors(), ElementsAre(Pair("GPU-a", 3)));
  state.Update(host_with(2));  // the GPU was reset
  EXPECT_THAT(state.NewLinkErrors(), ElementsAre(Pair("GPU-a", 2)));
}

TEST(HostState, ConditionOfAnUnknownGpuIsIgnored) {
  HostState state(HostWith({"GPU-a"}));
  state.SetCondition("GPU-z", v1::GPU_CONDITION_LOST, "Xid 79");
  EXPECT_EQ(state.host().gpus(0).condition(), v1::GPU_CONDITION_UNSPECIFIED);
}

TEST(HostState, KeepsOneProofAPair) {
  HostState state(HostWith({"GPU-a", "GPU-b"}));
  v1::PeerProof proof;
  proof.set_from_uuid("GPU-a");
  proof.set_to_uuid("GPU-b");
  proof.set_verdict(v1::PROOF_VERDICT_PROVEN);
  state.SetProof(proof);
  proof.set_verdict(v1::PROOF_VERDICT_FAILED);
  state.SetProof(proof);
  ASSERT_THAT(state.proofs().proofs(), SizeIs(1));
  EXPECT_EQ(state.proofs().proofs(0).verdict(), v1::PROOF_VERDICT_FAILED);
  state.SetProofs({});
  EXPECT_THAT(state.proofs().proofs(), IsEmpty());
}

TEST(Admission, ReservesGpusForTheirUsers) {
  HostState state(HostWith({"GPU-a", "GPU-b"}));
  const Admission admission(&state, {}, {{"GPU-a", {1000, 1001}}, {"GPU-b", {}}});
  EXPECT_OK(admission.CheckUser(1001, "GPU-a"));
  EXPECT_OK(admission.CheckUser(7, "GPU-c"));
  for (const uid_t uid : {0u, 7u}) {
    const absl::Status refused = admission.CheckUser(uid, "GPU-a");
    EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("GPU-a"));
  }
  EXPECT_EQ(admission.CheckUser(1000, "GPU-b").code(), absl::StatusCode::kPermissionDenied);
}

TEST(Admission, RulesMayChangeMeanwhile) {
  HostState state(HostWith({"GPU-a", "GPU-b"}));
  Admission admission(&state, {.allow_gpu_sharing = true}, {{"GPU-a", {1000}}});
  admission.SetRules({.disabled = true}, {{"GPU-b", {1000}}});
  EXPECT_OK(admission.CheckUser(7, "GPU-a"));
  EXPECT_EQ(admission.CheckUser(7, "GPU-b").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_FALSE(admission.allows_gpu_sharing());
  const std::vector<std::string> both = {"GPU-a", "GPU-b"};
  EXPECT_EQ(admission.DecideFastPath(both).reason(), v1::FAST_PATH_REASON_DISABLED);
}

TEST(Admission, DecidesByTheHostAsItIsNow) {
  v1::Host host = HostWith({"GPU-a", "GPU-b"});
  for (const auto& [from, to] : {std::pair("GPU-a", "GPU-b"), std::pair("GPU-b", "GPU-a")}) {
    v1::Link* link = host.add_links();
    link->set_from_uuid(from);
    link->set_to_uuid(to);
    link->set_kind(v1::LINK_KIND_NVSWITCH);
  }
  HostState state(host);
  const Admission admission(&state, {.trust_driver = true}, {});
  const std::vector<std::string> both = {"GPU-a", "GPU-b"};
  EXPECT_TRUE(admission.DecideFastPath(both).supported());
  state.SetCondition("GPU-b", v1::GPU_CONDITION_DRAINING, "an administrator's wish");
  EXPECT_EQ(admission.DecideFastPath(both).reason(), v1::FAST_PATH_REASON_DRAINING);
}

}  // namespace
}  // namespace nodecomm
