// The probe program on this host's GPUs, run as the daemon runs it: every pair, or the one GPU with
// itself. Programs are found in ../bin.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "daemon/memory/allocator_plane_source.h"
#include "daemon/process/child_process.h"
#include "daemon/proof/peer_prover.h"
#include "daemon/proof/program_pair_probe.h"
#include "daemon/topology/inventory.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::testing::HasSubstr;

std::string Program(const std::string& name) { return *ProgramBesideThisOne("../bin/" + name); }

class ProbeGpuTest : public testing::Test {
 protected:
  void SetUp() override {
    auto inventory = CreateNvmlInventory();
    auto host = inventory.ok() ? (*inventory)->Read() : inventory.status();
    if (!host.ok() || host->gpus().empty()) {
      const char* required = getenv("NODECOMM_REQUIRE_GPU");
      if (required != nullptr && std::string(required) == "1") {
        FAIL() << "NODECOMM_REQUIRE_GPU=1, but no GPU: " << host.status();
      }
      GTEST_SKIP() << "no GPU: " << host.status();
    }
    host_ = *std::move(host);
    auto source = AllocatorPlaneSource::Open({.program = Program("nodecomm-allocator")});
    ASSERT_OK(source);
    source_ = *std::move(source);
  }

  std::unique_ptr<ProgramPairProbe> Probe(absl::Duration timeout = absl::Seconds(10)) {
    return std::make_unique<ProgramPairProbe>(
        ProgramPairProbe::Options{.program = Program("nodecomm-probe"),
                                  .platform = v1::PLATFORM_CUDA,
                                  .bytes = 64_MiB,
                                  .timeout = timeout},
        source_.get());
  }
  static void ExpectProven(const v1::PeerProof& proof) {
    EXPECT_EQ(proof.verdict(), v1::PROOF_VERDICT_PROVEN)
        << proof.from_uuid() << " to " << proof.to_uuid() << ": " << proof.reason();
    EXPECT_EQ(proof.bytes_checked(), (64_MiB).value);
    EXPECT_GT(proof.write_gigabytes_per_second(), 1);
    EXPECT_GT(proof.read_gigabytes_per_second(), 1);
    EXPECT_GT(proof.round_trip_ns(), 100);
    std::printf("%s -> %s: write %.0f GB/s, read %.0f GB/s, round trip %lld ns\n",
                proof.from_uuid().c_str(), proof.to_uuid().c_str(),
                proof.write_gigabytes_per_second(), proof.read_gigabytes_per_second(),
                static_cast<long long>(proof.round_trip_ns()));
  }

  v1::Host host_;
  std::unique_ptr<AllocatorPlaneSource> source_;
  absl::Notification never_;
};

TEST_F(ProbeGpuTest, ProvesAGpuWithItself) {
  const std::string uuid = host_.gpus(0).uuid();
  const absl::Time start = absl::Now();
  const auto proofs = Probe()->Prove({uuid, uuid}, never_);
  std::printf("one pair, program and all: %s\n", absl::FormatDuration(absl::Now() - start).c_str());
  ASSERT_OK(proofs);
  ASSERT_EQ(proofs->size(), 2u);
  for (const v1::PeerProof& proof : *proofs) ExpectProven(proof);
}

TEST_F(ProbeGpuTest, ProvesEveryPairInTime) {
  if (host_.gpus_size() < 2) GTEST_SKIP() << "one GPU";
  HostState state(host_);
  const TemporaryDirectory directory;
  const auto probe = Probe();
  PeerProver prover({.cache_path = directory.path() + "/cache"}, &state, probe.get());
  ASSERT_TRUE(prover.Start(PeerProver::Which::kAll).value_or(false));
  ASSERT_TRUE(prover.WaitUntilDone(absl::Minutes(2)));
  const v1::PeerProofs proofs = state.proofs();
  EXPECT_EQ(proofs.proofs_size(), host_.gpus_size() * (host_.gpus_size() - 1));
  for (const v1::PeerProof& proof : proofs.proofs()) ExpectProven(proof);
  const int64_t elapsed_ms = prover.Progress().elapsed_ms();
  std::printf("%d ordered pairs in %lld ms\n", proofs.proofs_size(),
              static_cast<long long>(elapsed_ms));
  EXPECT_LT(elapsed_ms, host_.gpus_size() <= 4 ? 5000 : 15000);
}

TEST_F(ProbeGpuTest, SaysThatThereIsNoTime) {
  const std::string uuid = host_.gpus(0).uuid();
  const auto proofs = Probe(absl::Milliseconds(1))->Prove({uuid, uuid}, never_);
  ASSERT_OK(proofs);
  for (const v1::PeerProof& proof : *proofs) {
    EXPECT_EQ(proof.verdict(), v1::PROOF_VERDICT_UNPROVEN);
    EXPECT_THAT(proof.reason(), HasSubstr("not enough time"));
  }
}

TEST_F(ProbeGpuTest, LeavesNoContextBehind) {
  const std::string uuid = host_.gpus(0).uuid();
  EXPECT_OK(Probe()->Prove({uuid, uuid}, never_));
  FILE* const list = popen("nvidia-smi --query-compute-apps=pid,name --format=csv,noheader", "r");
  ASSERT_NE(list, nullptr);
  std::string text(4096, '\0');
  text.resize(fread(text.data(), 1, text.size(), list));
  EXPECT_EQ(pclose(list), 0);
  EXPECT_EQ(text.find("nodecomm"), std::string::npos) << text;
}

}  // namespace
}  // namespace nodecomm
