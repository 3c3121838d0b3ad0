// What the daemon makes of a probe program that works, lies, stalls, dies or is not there.
#include "daemon/proof/program_pair_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "daemon/memory/memfd_plane_source.h"
#include "tests/support/few_fds.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const GpuPair kPair = {"GPU-51000000-0000-4000-8000-000000000000",
                       "GPU-51000000-0000-4000-8000-000000000001"};

v1::Host TwoGpus() {
  v1::Host host;
  host.add_gpus()->set_uuid(kPair.a);
  host.add_gpus()->set_uuid(kPair.b);
  return host;
}

size_t OpenDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

class ProgramPairProbeTest : public testing::Test {
 protected:
  ~ProgramPairProbeTest() override { unsetenv("NODECOMM_TEST_FAULT"); }

  absl::StatusOr<std::vector<v1::PeerProof>> Prove(const std::string& program,
                                                   const char* fault = "none",
                                                   absl::Duration timeout = absl::Seconds(20),
                                                   ByteCount bytes = 2_MiB) {
    setenv("NODECOMM_TEST_FAULT", fault, 1);
    ProgramPairProbe probe({.program = program,
                            .platform = v1::PLATFORM_SIMULATED,
                            .bytes = bytes,
                            .timeout = timeout},
                           &source_);
    return probe.Prove(kPair, cancelled_);
  }
  static void ExpectUnproven(const absl::StatusOr<std::vector<v1::PeerProof>>& proofs,
                             const std::string& reason) {
    ASSERT_OK(proofs);
    ASSERT_THAT(*proofs, SizeIs(2));
    for (const v1::PeerProof& proof : *proofs) {
      EXPECT_EQ(proof.verdict(), v1::PROOF_VERDICT_UNPROVEN);
      EXPECT_THAT(proof.reason(), HasSubstr(reason));
    }
  }

  MemfdPlaneSource source_{TwoGpus()};
  absl::Notification cancelled_;
};

TEST_F(ProgramPairProbeTest, ProvesASoundPairInBothDirections) {
  const auto proofs = Prove(NODECOMM_PROBE);
  ASSERT_OK(proofs);
  ASSERT_THAT(*proofs, SizeIs(2));
  EXPECT_EQ(proofs->at(0).from_uuid(), kPair.a);
  EXPECT_EQ(proofs->at(1).from_uuid(), kPair.b);
  for (const v1::PeerProof& proof : *proofs) {
    EXPECT_EQ(proof.verdict(), v1::PROOF_VERDICT_PROVEN) << proof.reason();
    EXPECT_EQ(proof.bytes_checked(), (2_MiB).value);
    EXPECT_GT(proof.write_gigabytes_per_second(), 0);
    EXPECT_GT(proof.read_gigabytes_per_second(), 0);
    EXPECT_GT(proof.round_trip_ns(), 0);
    EXPECT_GT(proof.unix_time_ms(), 0);
  }
}

TEST_F(ProgramPairProbeTest, CatchesOneWrongByteIn64MiB) {
  const auto proofs = Prove(NODECOMM_FAULTY_PROBE, "corrupt", absl::Seconds(60), 64_MiB);
  ASSERT_OK(proofs);
  ASSERT_THAT(*proofs, SizeIs(2));
  for (const v1::PeerProof& proof : *proofs) {
    EXPECT_EQ(proof.verdict(), v1::PROOF_VERDICT_FAILED);
    EXPECT_THAT(proof.reason(), HasSubstr("byte"));
  }
}

TEST_F(ProgramPairProbeTest, KillsOneThatStalls) {
  const absl::Time start = absl::Now();
  ExpectUnproven(Prove(NODECOMM_FAULTY_PROBE, "stall", absl::Milliseconds(100)),
                 "did not answer in time");
  EXPECT_LT(absl::Now() - start, absl::Seconds(15));
}

TEST_F(ProgramPairProbeTest, OutlivesOneThatDies) {
  ExpectUnproven(Prove(NODECOMM_FAULTY_PROBE, "die"), "was ended by signal 6");
}

TEST_F(ProgramPairProbeTest, BelievesNoRubbish) {
  ExpectUnproven(Prove(NODECOMM_FAULTY_PROBE, "garbage"), "answered something else");
}

TEST_F(ProgramPairProbeTest, SaysThatTheProgramIsMissing) {
  ExpectUnproven(Prove("/nowhere/nodecomm-probe"), "/nowhere/nodecomm-probe");
  const auto can_try = [&](const char* program) {
    return ProgramPairProbe({.program = program, .platform = v1::PLATFORM_SIMULATED}, &source_)
        .CanTry();
  };
  EXPECT_TRUE(absl::IsNotFound(can_try("/nowhere/nodecomm-probe")));
  EXPECT_TRUE(absl::IsPermissionDenied(can_try("/proc/self/status"))) << "not executable";
  EXPECT_TRUE(can_try(NODECOMM_PROBE).ok());
}

TEST_F(ProgramPairProbeTest, BelievesNoOtherProgram) {
  ExpectUnproven(Prove("/bin/echo"), "answered something else");
  ExpectUnproven(Prove("/bin/false"), "exited with code 1");
}

TEST_F(ProgramPairProbeTest, GivesUpWhenTheDaemonStops) {
  std::thread stopper([this] { cancelled_.Notify(); });
  ExpectUnproven(Prove(NODECOMM_FAULTY_PROBE, "stall"), "stopping");
  stopper.join();
}

TEST_F(ProgramPairProbeTest, SaysThatThereIsNoMemory) {
  const GpuPair stranger = {kPair.a, "GPU-of-another-host"};
  ProgramPairProbe probe({.program = NODECOMM_PROBE,
                          .platform = v1::PLATFORM_SIMULATED,
                          .bytes = 2_MiB,
                          .timeout = absl::Seconds(5)},
                         &source_);
  ExpectUnproven(probe.Prove(stranger, cancelled_), "GPU-of-another-host");
}

TEST_F(ProgramPairProbeTest, SaysWhereDescriptorsAreLackingThatItMayWorkLater) {
  for (const rlim_t left : {0, 1, 2, 3}) {
    absl::StatusOr<std::vector<v1::PeerProof>> proofs;
    {
      const FewFds few(left);
      proofs = Prove(NODECOMM_PROBE);
    }
    EXPECT_THAT(proofs,
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("Too many open files")))
        << left << " left";
  }
}

TEST_F(ProgramPairProbeTest, LeavesNoDescriptorBehind) {
  const size_t before = OpenDescriptors();
  EXPECT_OK(Prove(NODECOMM_PROBE));
  EXPECT_OK(Prove(NODECOMM_FAULTY_PROBE, "die"));
  EXPECT_OK(Prove("/nowhere"));
  EXPECT_EQ(OpenDescriptors(), before);
}

}  // namespace
}  // namespace nodecomm
