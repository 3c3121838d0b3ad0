// What a daemon says that it waits for.
#include "daemon/main/readiness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nodecomm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::Host TwoGpus() {
  v1::Host host;
  for (const char* uuid : {"GPU-a", "GPU-b"}) {
    v1::Gpu& gpu = *host.add_gpus();
    gpu.set_uuid(uuid);
    gpu.set_fabric_state(v1::FABRIC_STATE_COMPLETED);
  }
  return host;
}

v1::PoolInfo Pool(int ready, int target) {
  v1::PoolInfo pool;
  pool.set_gpu_uuid("GPU-a");
  pool.set_plane_bytes(10);
  pool.set_planes_ready(ready);
  pool.set_planes_ready_target(target);
  pool.set_bytes_ready(10 * ready);
  pool.set_bytes_max(100);
  return pool;
}

TEST(WaitsFor, NothingOnceAllIsThere) { EXPECT_EQ(WaitsFor(TwoGpus(), {}, {Pool(2, 2)}), ""); }

TEST(WaitsFor, GpusFirst) {
  EXPECT_THAT(WaitsFor({}, {}, {}), AllOf(HasSubstr("a GPU"), HasSubstr("nvidia-smi")));
}

TEST(WaitsFor, FabricIsNamedWithItsService) {
  for (const v1::FabricState state : {v1::FABRIC_STATE_NOT_STARTED, v1::FABRIC_STATE_IN_PROGRESS}) {
    v1::Host host = TwoGpus();
    host.mutable_gpus(1)->set_fabric_state(state);
    EXPECT_THAT(WaitsFor(host, {}, {Pool(0, 2)}),
                AllOf(HasSubstr("fabric of 1 of 2 GPUs"), HasSubstr("nvidia-fabricmanager")));
  }
}

TEST(WaitsFor, FabricThatIsNotThereIsNotWaitedFor) {
  v1::Host host = TwoGpus();
  host.mutable_gpus(0)->set_fabric_state(v1::FABRIC_STATE_NOT_SUPPORTED);
  host.mutable_gpus(1)->set_fabric_state(v1::FABRIC_STATE_UNKNOWN);
  EXPECT_EQ(WaitsFor(host, {}, {}), "");
}

TEST(WaitsFor, ProofsWithTheirProgress) {
  v1::PeerCheckProgress proofs;
  proofs.set_running(true);
  proofs.set_pairs_done(3);
  proofs.set_pairs_total(12);
  EXPECT_THAT(WaitsFor(TwoGpus(), {.progress = proofs}, {}), HasSubstr("3 of 12 pairs"));
}

TEST(WaitsFor, WhatProofsLackAlsoWhileTheyAreTriedAgain) {
  v1::PeerCheckProgress proofs;
  proofs.set_running(true);
  const std::string waits_for = WaitsFor(TwoGpus(), {.progress = proofs, .pairs_lacking = 2}, {});
  EXPECT_THAT(waits_for,
              AllOf(HasSubstr("file descriptors, memory or time"), HasSubstr("of 2 pairs")));
  EXPECT_EQ(waits_for, WaitsFor(TwoGpus(), {.pairs_lacking = 2}, {}))
      << "or it would be told again and again";
}

TEST(WaitsFor, ThreadForARunOfProofs) {
  EXPECT_THAT(WaitsFor(TwoGpus(), {.lacks_thread = true}, {Pool(2, 2)}),
              AllOf(HasSubstr("a thread to prove peer access"), HasSubstr("TasksMax=")));
}

TEST(WaitsFor, MemoryWithTheDriversReasonOnOneLine) {
  v1::PoolInfo pool = Pool(1, 2);
  pool.set_last_error("out of memory\non GPU-a");
  EXPECT_THAT(
      WaitsFor(TwoGpus(), {}, {pool}),
      AllOf(HasSubstr("GPU-a: 1 of 2 planes"), HasSubstr("out of memory"), Not(HasSubstr("\n"))));
}

TEST(WaitsFor, PoolThatItsLimitKeepsFromMoreIsFull) {
  v1::PoolInfo pool = Pool(0, 2);
  pool.set_bytes_in_use(95);  // by groups of the daemon before this one
  EXPECT_EQ(WaitsFor(TwoGpus(), {}, {pool}), "");
}

TEST(Lacks, NothingOfAHostThatIsAsItWas) {
  EXPECT_EQ(Lacks(TwoGpus()), "");
  EXPECT_TRUE(HasUsableGpu(TwoGpus()));
  EXPECT_FALSE(HasUsableGpu({}));
}

TEST(Lacks, LostGpusAreNamedWithTheirReasonAndTheRestIsOfUse) {
  v1::Host host = TwoGpus();
  host.mutable_gpus(1)->set_condition(v1::GPU_CONDITION_LOST);
  host.mutable_gpus(1)->set_condition_reason("Xid 79\n");
  EXPECT_THAT(Lacks(host), AllOf(HasSubstr("GPU GPU-b is lost: Xid 79"), Not(HasSubstr("\n")),
                                 Not(HasSubstr("GPU-a"))));
  EXPECT_TRUE(HasUsableGpu(host));
  host.mutable_gpus(0)->set_fabric_state(v1::FABRIC_STATE_NOT_STARTED);
  EXPECT_THAT(Lacks(host),
              AllOf(HasSubstr("GPU-b is lost"), HasSubstr("fabric of 1 of 2 GPUs is down"),
                    HasSubstr("nvidia-fabricmanager")));
  EXPECT_FALSE(HasUsableGpu(host));
}

TEST(Lacks, DescriptorsForAWorker) {
  EXPECT_EQ(LacksFds(59, 64), "");
  EXPECT_THAT(LacksFds(60, 64),
              AllOf(HasSubstr("of 64 file descriptors"), HasSubstr("LimitNOFILE")));
}

TEST(Lacks, DrainedGpusAreNotMissed) {
  v1::Host host = TwoGpus();
  host.mutable_gpus(0)->set_condition(v1::GPU_CONDITION_DRAINING);
  EXPECT_EQ(Lacks(host), "");
}

}  // namespace
}  // namespace nodecomm
