// Which pairs are tried, when, and what is remembered; over a probe that only says what it was
// told.
#include "daemon/proof/peer_prover.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "daemon/proof/proof_cache.h"
#include "tests/support/no_threads.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr absl::Duration kLong = absl::Seconds(20);

// Says PROVEN unless told otherwise, and notes who was busy with whom.
class FakePairProbe final : public PairProbe {
 public:
  absl::StatusOr<std::vector<v1::PeerProof>> Prove(const GpuPair& pair,
                                                   const absl::Notification& cancelled) override {
    std::function<void()> meanwhile;
    bool waits;
    {
      absl::MutexLock lock(&mu_);
      tried_.push_back(pair);
      shared_a_gpu_ |= !busy_.insert(pair.a).second;
      shared_a_gpu_ |= !busy_.insert(pair.b).second;
      waits = waits_;
      meanwhile = meanwhile_;
    }
    if (meanwhile) meanwhile();
    if (waits) cancelled.WaitForNotificationWithTimeout(kLong);
    absl::MutexLock lock(&mu_);
    busy_.erase(pair.a);
    busy_.erase(pair.b);
    if (lacks_) return absl::ResourceExhaustedError(reason_);
    std::vector<v1::PeerProof> proofs = Unproven(pair, reason_);
    for (v1::PeerProof& proof : proofs) proof.set_verdict(verdict_);
    proofs[0].set_late(late_);
    return proofs;
  }
  // The first direction, from now on.
  void BeLate(bool late) {
    absl::MutexLock lock(&mu_);
    late_ = late;
  }
  void Answer(v1::ProofVerdict verdict, std::string reason) {
    absl::MutexLock lock(&mu_);
    verdict_ = verdict;
    reason_ = std::move(reason);
  }
  // Something, from now on, or nothing any more.
  void Lack(std::string what) {
    absl::MutexLock lock(&mu_);
    lacks_ = !what.empty();
    reason_ = std::move(what);
  }
  // Called while a pair is tried.
  void Meanwhile(std::function<void()> act) {
    absl::MutexLock lock(&mu_);
    meanwhile_ = std::move(act);
  }
  void WaitForCancellation() {
    absl::MutexLock lock(&mu_);
    waits_ = true;
  }
  std::vector<GpuPair> TakeTried() {
    absl::MutexLock lock(&mu_);
    return std::exchange(tried_, {});
  }
  bool shared_a_gpu() const {
    absl::MutexLock lock(&mu_);
    return shared_a_gpu_;
  }

 private:
  mutable absl::Mutex mu_;
  v1::ProofVerdict verdict_ = v1::PROOF_VERDICT_PROVEN;
  std::string reason_;
  bool lacks_ = false;
  bool late_ = false;
  bool waits_ = false;
  std::function<void()> meanwhile_;
  bool shared_a_gpu_ = false;
  std::set<std::string> busy_;
  std::vector<GpuPair> tried_;
};

class PeerProverTest : public testing::Test {
 protected:
  static v1::Host HostOf(int gpus) {
    v1::Host host;
    host.set_driver_version("580");
    for (int i = 0; i < gpus; ++i) host.add_gpus()->set_uuid(absl::StrCat("GPU-", i));
    return host;
  }
  std::unique_ptr<PeerProver> Make(HostState& state) {
    PeerProver::Options options;
    options.cache_path = cache_path_;
    options.warn = [this](std::string_view warning) { warnings_.emplace_back(warning); };
    options.begins = [this](int pairs, int rounds) { begun_.emplace_back(pairs, rounds); };
    return std::make_unique<PeerProver>(std::move(options), &state, &probe_);
  }
  void ProveAll(HostState& state, PeerProver::Which which = PeerProver::Which::kMissing) {
    const auto prover = Make(state);
    ASSERT_TRUE(prover->Start(which).value_or(false));
    ASSERT_TRUE(prover->WaitUntilDone(kLong));
  }

  TemporaryDirectory directory_;
  const std::string cache_path_ = directory_.path() + "/peer-access.textproto";
  FakePairProbe probe_;
  std::vector<std::string> warnings_;
  std::vector<std::pair<int, int>> begun_;  // pairs, rounds
};

TEST_F(PeerProverTest, TriesEveryPairAndNoGpuTwiceAtATime) {
  HostState state(HostOf(8));
  const auto prover = Make(state);
  ASSERT_TRUE(prover->Start(PeerProver::Which::kMissing).value_or(false));
  ASSERT_TRUE(prover->WaitUntilDone(kLong));
  EXPECT_THAT(probe_.TakeTried(), SizeIs(28));
  EXPECT_FALSE(probe_.shared_a_gpu());
  EXPECT_THAT(state.proofs().proofs(), SizeIs(56));
  EXPECT_EQ(prover->Progress().pairs_total(), 56);
  EXPECT_EQ(prover->Progress().pairs_done(), 56);
  EXPECT_FALSE(prover->Progress().running());
  EXPECT_THAT(begun_, ElementsAre(Pair(56, 7)));
}

TEST_F(PeerProverTest, ProvesNothingTwiceInOneBoot) {
  HostState state(HostOf(4));
  ProveAll(state);
  EXPECT_THAT(probe_.TakeTried(), SizeIs(6));
  HostState restarted(HostOf(4));
  ProveAll(restarted);
  EXPECT_THAT(probe_.TakeTried(), IsEmpty());
  EXPECT_THAT(restarted.proofs().proofs(), SizeIs(12));
  EXPECT_THAT(begun_, ElementsAre(Pair(12, 3))) << "the second run had nothing to try";
}

TEST_F(PeerProverTest, ProvesAgainWhenForced) {
  HostState state(HostOf(3));
  ProveAll(state);
  probe_.TakeTried();
  probe_.Answer(v1::PROOF_VERDICT_FAILED, "wrong at byte 7");
  ProveAll(state, PeerProver::Which::kAll);
  EXPECT_THAT(probe_.TakeTried(), SizeIs(3));
  const v1::PeerProofs proofs = state.proofs();
  for (const v1::PeerProof& proof : proofs.proofs()) {
    EXPECT_EQ(proof.verdict(), v1::PROOF_VERDICT_FAILED);
    EXPECT_EQ(proof.reason(), "wrong at byte 7");
  }
}

TEST_F(PeerProverTest, RemembersFailuresButTriesAgainWhatCouldNotRun) {
  probe_.Answer(v1::PROOF_VERDICT_UNPROVEN, "no memory");
  HostState state(HostOf(2));
  ProveAll(state);
  probe_.TakeTried();
  probe_.Answer(v1::PROOF_VERDICT_FAILED, "wrong");
  HostState second(HostOf(2));
  ProveAll(second);
  EXPECT_THAT(probe_.TakeTried(), SizeIs(1));
  HostState third(HostOf(2));
  ProveAll(third);
  EXPECT_THAT(probe_.TakeTried(), IsEmpty());
  ASSERT_THAT(third.proofs().proofs(), SizeIs(2));
  EXPECT_EQ(third.proofs().proofs(0).verdict(), v1::PROOF_VERDICT_FAILED);
}

TEST_F(PeerProverTest, TriesAgainWhatLackedSomethingAndTellsOfItOnce) {
  probe_.Lack("Too many open files");
  HostState state(HostOf(3));
  std::vector<v1::ProofVerdict> told;
  absl::Mutex mu;
  PeerProver::Options options;
  options.cache_path = cache_path_;
  options.begins = [this](int pairs, int rounds) { begun_.emplace_back(pairs, rounds); };
  options.proven = [&](const v1::PeerProof& proof) {
    absl::MutexLock lock(&mu);
    told.push_back(proof.verdict());
  };
  PeerProver prover(std::move(options), &state, &probe_);
  ASSERT_TRUE(prover.Start(PeerProver::Which::kMissing).value_or(false));
  ASSERT_TRUE(prover.WaitUntilDone(kLong));
  EXPECT_EQ(prover.Lacking(), 6);
  ASSERT_THAT(state.proofs().proofs(), SizeIs(6));
  EXPECT_EQ(state.proofs().proofs(0).verdict(), v1::PROOF_VERDICT_UNPROVEN);
  EXPECT_EQ(state.proofs().proofs(0).reason(), "Too many open files");

  ASSERT_TRUE(prover.RetryLacking());
  ASSERT_TRUE(prover.WaitUntilDone(kLong));
  EXPECT_EQ(prover.Lacking(), 6);
  EXPECT_EQ(told, std::vector(6, v1::PROOF_VERDICT_UNPROVEN));

  probe_.Lack("");
  ASSERT_TRUE(prover.RetryLacking());
  ASSERT_TRUE(prover.WaitUntilDone(kLong));
  EXPECT_EQ(prover.Lacking(), 0);
  EXPECT_EQ(told.size(), 12u);
  EXPECT_EQ(told.back(), v1::PROOF_VERDICT_PROVEN);
  EXPECT_THAT(begun_, SizeIs(1));
  EXPECT_FALSE(prover.RetryLacking());
}

TEST_F(PeerProverTest, LacksNothingForAPairThatIsNotTriedAnyMore) {
  probe_.Lack("Too many open files");
  HostState state(HostOf(2));
  const auto prover = Make(state);
  ASSERT_TRUE(prover->Start(PeerProver::Which::kMissing).value_or(false));
  ASSERT_TRUE(prover->WaitUntilDone(kLong));
  EXPECT_EQ(prover->Lacking(), 2);
  state.SetCondition("GPU-1", v1::GPU_CONDITION_DRAINING, "drained");
  ASSERT_TRUE(prover->RetryLacking());
  ASSERT_TRUE(prover->WaitUntilDone(kLong));
  EXPECT_EQ(prover->Lacking(), 0);
}

TEST_F(PeerProverTest, MeasuresAgainWhatADamagedCacheHeld) {
  HostState state(HostOf(2));
  ProveAll(state);
  probe_.TakeTried();
  std::ofstream(cache_path_) << "proofs { rubbish";
  HostState restarted(HostOf(2));
  ProveAll(restarted);
  EXPECT_THAT(probe_.TakeTried(), SizeIs(1));
  ASSERT_THAT(warnings_, SizeIs(1));
  EXPECT_THAT(warnings_[0], HasSubstr("damaged"));
  EXPECT_OK(ReadProofCache(cache_path_));
}

TEST_F(PeerProverTest, SaysWhyPairsAreNotTried) {
  v1::Host host = HostOf(4);
  host.mutable_gpus(0)->set_mig_mode(v1::MIG_MODE_ENABLED);
  host.mutable_gpus(1)->set_condition(v1::GPU_CONDITION_LOST);
  v1::Link* link = host.add_links();
  link->set_from_uuid("GPU-3");
  link->set_to_uuid("GPU-2");
  link->set_peer_access(v1::PEER_ACCESS_NOT_SUPPORTED);
  link->set_peer_access_reason("chipset");
  HostState state(host);
  ProveAll(state);
  EXPECT_THAT(probe_.TakeTried(), IsEmpty());
  std::map<std::pair<std::string, std::string>, std::string> reasons;
  const v1::PeerProofs proofs = state.proofs();
  for (const v1::PeerProof& proof : proofs.proofs()) {
    EXPECT_EQ(proof.verdict(), v1::PROOF_VERDICT_UNPROVEN);
    reasons[{proof.from_uuid(), proof.to_uuid()}] = proof.reason();
  }
  EXPECT_EQ(reasons.size(), 12u);
  EXPECT_THAT((reasons[{"GPU-2", "GPU-3"}]), HasSubstr("chipset"));
  EXPECT_THAT((reasons[{"GPU-3", "GPU-0"}]), HasSubstr("MIG"));
  EXPECT_THAT((reasons[{"GPU-1", "GPU-2"}]), HasSubstr("GPU-1 is lost"));
}

TEST_F(PeerProverTest, SaysWhereTheDriverGivesNoReason) {
  v1::Host host = HostOf(2);
  v1::Link* link = host.add_links();
  link->set_from_uuid("GPU-0");
  link->set_to_uuid("GPU-1");
  link->set_peer_access(v1::PEER_ACCESS_NOT_SUPPORTED);
  HostState state(host);
  ProveAll(state);
  ASSERT_THAT(state.proofs().proofs(), SizeIs(2));
  EXPECT_EQ(state.proofs().proofs(0).reason(),
            "not tried: the driver says that there is no peer access");
}

TEST_F(PeerProverTest, GpuThatIsDrainedDuringARunIsTriedNoMore) {
  HostState state(HostOf(4));
  const auto prover = Make(state);
  absl::Notification in_progress;
  absl::Notification drained;
  std::atomic<int> calls = 0;
  probe_.Meanwhile([&] {
    if (++calls == 1) in_progress.Notify();
    drained.WaitForNotificationWithTimeout(kLong);
  });
  ASSERT_TRUE(prover->Start(PeerProver::Which::kMissing).value_or(false));
  ASSERT_TRUE(in_progress.WaitForNotificationWithTimeout(kLong));
  // The first round has all GPUs; the next begins when it is done.
  const auto all_are_tried = [&] {
    for (int gpu = 0; gpu < 4; ++gpu) {
      if (!prover->IsTrying(absl::StrCat("GPU-", gpu))) return false;
    }
    return true;
  };
  const absl::Time deadline = absl::Now() + kLong;
  while (!all_are_tried() && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(1));
  ASSERT_TRUE(all_are_tried());
  state.SetCondition("GPU-1", v1::GPU_CONDITION_DRAINING, "for the test");
  EXPECT_TRUE(prover->IsTrying("GPU-1")) << "its probe has not ended";
  drained.Notify();
  ASSERT_TRUE(prover->WaitUntilDone(kLong));
  EXPECT_FALSE(prover->IsTrying("GPU-1"));
  int with_it = 0;
  const std::vector<GpuPair> tried = probe_.TakeTried();
  for (const GpuPair& pair : tried) with_it += pair.a == "GPU-1" || pair.b == "GPU-1" ? 1 : 0;
  EXPECT_EQ(with_it, 1);
  EXPECT_THAT(tried, SizeIs(4)) << "the others' six pairs less two";
  EXPECT_EQ(prover->Progress().pairs_done(), prover->Progress().pairs_total());
}

TEST_F(PeerProverTest, RunForAGpuThatIsBackFollowsTheOneThatIsGoingOn) {
  HostState state(HostOf(3));
  state.SetCondition("GPU-2", v1::GPU_CONDITION_DRAINING, "for the test");
  const auto prover = Make(state);
  absl::Notification in_progress;
  absl::Notification back;
  std::atomic<int> calls = 0;
  probe_.Meanwhile([&] {
    if (++calls == 1) in_progress.Notify();
    back.WaitForNotificationWithTimeout(kLong);
  });
  ASSERT_TRUE(prover->Start(PeerProver::Which::kMissing).value_or(false));
  ASSERT_TRUE(in_progress.WaitForNotificationWithTimeout(kLong));
  state.SetCondition("GPU-2", v1::GPU_CONDITION_UNSPECIFIED, "");
  prover->StartAfterwards();
  back.Notify();
  ASSERT_TRUE(prover->WaitUntilDone(kLong));
  EXPECT_THAT(probe_.TakeTried(), SizeIs(3));
  // Without one that is going on it is a run like any other.
  state.ForgetProofs("GPU-0");
  prover->StartAfterwards();
  ASSERT_TRUE(prover->WaitUntilDone(kLong));
  EXPECT_THAT(probe_.TakeTried(), SizeIs(2));
}

TEST_F(PeerProverTest, LatePairIsTriedAgainAndFailsTheThirdTimeInARow) {
  HostState state(HostOf(2));
  const auto prover = Make(state);
  const auto verdicts = [&] {
    EXPECT_TRUE(prover->WaitUntilDone(kLong));
    std::vector<v1::ProofVerdict> all;
    const v1::PeerProofs proofs = state.proofs();
    for (const v1::PeerProof& proof : proofs.proofs()) all.push_back(proof.verdict());
    return all;
  };
  probe_.Answer(v1::PROOF_VERDICT_UNPROVEN, "a packet was late");
  probe_.BeLate(true);
  ASSERT_TRUE(prover->Start(PeerProver::Which::kMissing).value_or(false));
  EXPECT_THAT(verdicts(), ElementsAre(v1::PROOF_VERDICT_UNPROVEN, v1::PROOF_VERDICT_UNPROVEN));
  EXPECT_EQ(prover->Lacking(), 2);
  ASSERT_TRUE(prover->RetryLacking());
  EXPECT_THAT(verdicts(), ElementsAre(v1::PROOF_VERDICT_UNPROVEN, v1::PROOF_VERDICT_UNPROVEN));
  // One that is not late in between, and it begins anew.
  probe_.BeLate(false);
  ASSERT_TRUE(prover->RetryLacking());
  EXPECT_THAT(verdicts(), ElementsAre(v1::PROOF_VERDICT_UNPROVEN, v1::PROOF_VERDICT_UNPROVEN));
  EXPECT_EQ(prover->Lacking(), 0);
  probe_.BeLate(true);
  ASSERT_TRUE(prover->Start(PeerProver::Which::kMissing).value_or(false));
  EXPECT_THAT(verdicts(), ElementsAre(v1::PROOF_VERDICT_UNPROVEN, v1::PROOF_VERDICT_UNPROVEN));
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(prover->RetryLacking());
    ASSERT_TRUE(prover->WaitUntilDone(kLong));
  }
  EXPECT_THAT(verdicts(), ElementsAre(v1::PROOF_VERDICT_FAILED, v1::PROOF_VERDICT_UNPROVEN));
  EXPECT_EQ(state.proofs().proofs(0).reason(), "a packet was late, 3 times in a row");
  EXPECT_EQ(prover->Lacking(), 0);
}

TEST_F(PeerProverTest, RunWithoutAThreadIsToldOfOnceAndMadeUpFor) {
  HostState state(HostOf(3));
  const auto prover = Make(state);
  {
    const NoThreads none;
    prover->StartAfterwards();
    EXPECT_FALSE(prover->RetryLacking());
    EXPECT_FALSE(prover->Progress().running());
    EXPECT_TRUE(prover->LacksThread());
  }
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("starting a thread")));
  const v1::PeerProofs untried = state.proofs();
  EXPECT_THAT(untried.proofs(), SizeIs(6));
  for (const v1::PeerProof& proof : untried.proofs()) {
    EXPECT_EQ(proof.verdict(), v1::PROOF_VERDICT_UNPROVEN);
    EXPECT_THAT(proof.reason(), AllOf(HasSubstr("starting a thread"), HasSubstr("TasksMax=")));
  }

  ASSERT_TRUE(prover->RetryLacking());
  EXPECT_FALSE(prover->LacksThread());
  ASSERT_TRUE(prover->WaitUntilDone(kLong));
  EXPECT_THAT(state.proofs().proofs(), SizeIs(6));
  EXPECT_FALSE(prover->RetryLacking());
  EXPECT_THAT(warnings_, SizeIs(1));
}

TEST_F(PeerProverTest, RunOfAllPairsWithoutAThreadIsMadeUpForInWhole) {
  HostState state(HostOf(3));
  ProveAll(state);
  probe_.TakeTried();
  const auto prover = Make(state);
  {
    const NoThreads none;
    EXPECT_THAT(prover->Start(PeerProver::Which::kAll).status(),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("starting a thread")));
  }
  const v1::PeerProofs kept = state.proofs();
  for (const v1::PeerProof& proof : kept.proofs()) {
    EXPECT_EQ(proof.verdict(), v1::PROOF_VERDICT_PROVEN) << "what was proven stays";
  }
  ASSERT_TRUE(prover->RetryLacking());
  ASSERT_TRUE(prover->WaitUntilDone(kLong));
  EXPECT_THAT(probe_.TakeTried(), SizeIs(3));
}

TEST_F(PeerProverTest, HasOneRunAtATime) {
  HostState state(HostOf(2));
  probe_.WaitForCancellation();
  const auto prover = Make(state);
  EXPECT_TRUE(prover->Start(PeerProver::Which::kAll).value_or(false));
  EXPECT_FALSE(prover->Start(PeerProver::Which::kAll).value_or(true));
  EXPECT_FALSE(prover->WaitUntilDone(absl::ZeroDuration()));
  EXPECT_TRUE(prover->Progress().running());
}

TEST_F(PeerProverTest, GivesUpARunAndKeepsNothingOfIt) {
  HostState state(HostOf(4));
  probe_.WaitForCancellation();
  auto prover = Make(state);
  EXPECT_TRUE(prover->Start(PeerProver::Which::kAll).value_or(false));
  prover = nullptr;
  EXPECT_LE(probe_.TakeTried().size(), 2u);  // one round at most
  EXPECT_THAT(state.proofs().proofs(), IsEmpty());
  EXPECT_EQ(ReadProofCache(cache_path_).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace nodecomm
