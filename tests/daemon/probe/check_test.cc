// What the check makes of sound and of faulty pairs; on the simulated platform.
#include "daemon/probe/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "client/base/steady_clock.h"
#include "kernels/device/host.h"
#include "tests/daemon/probe/faulty_pair.h"
#include "tests/support/status_matchers.h"

namespace nodecomm::probe {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

const std::array<std::string, 2> kUuids = {"GPU-a", "GPU-b"};
constexpr ByteCount kBytes = 4_MiB;

UniqueFd NewMemory(ByteCount bytes) {
  UniqueFd fd(memfd_create("probe-test", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(bytes.value)), 0);
  return fd;
}

PairOptions NewPair(ByteCount bytes = kBytes) {
  PairOptions options;
  options.gpu_uuids = kUuids;
  options.memory = {NewMemory(bytes), NewMemory(bytes)};
  options.bytes = bytes;
  return options;
}

v1::PeerProofs ProveWith(Faults faults, absl::Duration timeout = absl::Seconds(60)) {
  auto pair = FaultyPair::Create(NewPair(), std::move(faults));
  EXPECT_OK(pair);
  return ProvePair(**pair, kUuids, SteadyNow() + timeout);
}

void ExpectVerdicts(const v1::PeerProofs& proofs, v1::ProofVerdict a_to_b, v1::ProofVerdict b_to_a,
                    const std::string& reason) {
  ASSERT_THAT(proofs.proofs(), SizeIs(2));
  EXPECT_EQ(proofs.proofs(0).from_uuid(), "GPU-a");
  EXPECT_EQ(proofs.proofs(0).to_uuid(), "GPU-b");
  EXPECT_EQ(proofs.proofs(1).from_uuid(), "GPU-b");
  EXPECT_EQ(proofs.proofs(1).to_uuid(), "GPU-a");
  EXPECT_EQ(proofs.proofs(0).verdict(), a_to_b) << proofs.proofs(0).reason();
  EXPECT_EQ(proofs.proofs(1).verdict(), b_to_a) << proofs.proofs(1).reason();
  for (const v1::PeerProof& proof : proofs.proofs()) {
    if (proof.verdict() == v1::PROOF_VERDICT_PROVEN) {
      EXPECT_EQ(proof.reason(), "");
    } else {
      EXPECT_THAT(proof.reason(), HasSubstr(reason));
    }
  }
}

constexpr v1::ProofVerdict kProven = v1::PROOF_VERDICT_PROVEN;
constexpr v1::ProofVerdict kFailed = v1::PROOF_VERDICT_FAILED;
constexpr v1::ProofVerdict kUnproven = v1::PROOF_VERDICT_UNPROVEN;

TEST(ProvePair, ProvesASoundPairAndMeasuresIt) {
  auto pair = CreateHostPair(NewPair());
  ASSERT_OK(pair);
  const v1::PeerProofs proofs = ProvePair(**pair, kUuids, SteadyNow() + absl::Seconds(60));
  ExpectVerdicts(proofs, kProven, kProven, "");
  for (const v1::PeerProof& proof : proofs.proofs()) {
    EXPECT_EQ(proof.bytes_checked(), kBytes.value);
    EXPECT_GT(proof.write_gigabytes_per_second(), 0);
    EXPECT_GT(proof.read_gigabytes_per_second(), 0);
    EXPECT_GT(proof.round_trip_ns(), 0);
    EXPECT_GT(proof.unix_time_ms(), 0);
    EXPECT_EQ(proof.cuda_access(), v1::PEER_ACCESS_SUPPORTED);
    EXPECT_FALSE(proof.has_cuda_performance_rank());
  }
}

TEST(ProvePair, FindsOneWrongByteWhereverItIs) {
  for (const uint64_t byte : {uint64_t{0}, kBytes.value / 2 + 5, kBytes.value - 1}) {
    ExpectVerdicts(ProveWith({.corrupt_byte = byte}), kFailed, kFailed,
                   absl::StrCat("1 of 4194304 bytes of the second GPU's memory, written by the "
                                "first GPU, were wrong, the first at byte ",
                                byte));
  }
}

TEST(ProvePair, TellsWhoseMemoryIsWrong) {
  ExpectVerdicts(ProveWith({.corrupt_own_byte = 17}), kFailed, kFailed,
                 "written and read by the second GPU itself");
}

TEST(ProvePair, BlamesTheDirectionThatTearsPackets) {
  ExpectVerdicts(ProveWith({.receiver = Side::kB, .torn_packets = 3}), kFailed, kProven,
                 "3 packets of 16 bytes arrived in pieces");
  ExpectVerdicts(ProveWith({.receiver = Side::kA, .torn_packets = 1}), kProven, kFailed,
                 "1 packets");
}

TEST(ProvePair, BlamesTheDirectionThatReordersData) {
  ExpectVerdicts(ProveWith({.receiver = Side::kA, .disordered_reads = 2}), kProven, kFailed,
                 "overtaken");
}

// It was lost, or this process was stopped for longer than there was time.
TEST(ProvePair, PacketThatIsLateProvesNothing) {
  const v1::PeerProofs proofs = ProveWith({.receiver = Side::kB, .loses_a_packet = true});
  ExpectVerdicts(proofs, kUnproven, kProven, "did not arrive in time (round 7)");
  EXPECT_TRUE(proofs.proofs(0).late());
  EXPECT_FALSE(proofs.proofs(1).late());
}

TEST(ProvePair, WrongDataOutweighLatePackets) {
  const v1::PeerProofs proofs =
      ProveWith({.receiver = Side::kB, .torn_packets = 3, .loses_a_packet = true});
  ExpectVerdicts(proofs, kFailed, kProven, "3 packets");
  EXPECT_FALSE(proofs.proofs(0).late());
}

TEST(ProvePair, StartsNoExchangeWithoutHalfOfTheTime) {
  const v1::PeerProofs proofs =
      ProveWith({.first_write_takes = absl::Milliseconds(300)}, absl::Milliseconds(500));
  ExpectVerdicts(proofs, kUnproven, kUnproven, "not enough time");
  EXPECT_FALSE(proofs.proofs(0).late());
}

TEST(ProvePair, CannotProveWhatCannotRun) {
  ExpectVerdicts(ProveWith({.write_error = absl::ResourceExhaustedError("out of memory")}),
                 kUnproven, kUnproven, "out of memory");
  ExpectVerdicts(ProveWith({.exchange_error = absl::InternalError("launch failed")}), kUnproven,
                 kUnproven, "launch failed");
}

TEST(ProvePair, FaultOutweighsAStepThatCouldNotRun) {
  ExpectVerdicts(ProveWith({.corrupt_byte = 9, .exchange_error = absl::InternalError("later")}),
                 kFailed, kFailed, "byte 9");
}

TEST(ProvePair, StartsNothingAfterItsDeadline) {
  ExpectVerdicts(ProveWith({}, absl::ZeroDuration()), kUnproven, kUnproven, "not enough time");
}

TEST(ProvePair, NeedsRoomForTheExchange) {
  const ByteCount small = {kExchangeBytes - sizeof(Packet)};
  auto pair = CreateHostPair(NewPair(small));
  ASSERT_OK(pair);
  ExpectVerdicts(ProvePair(**pair, kUuids, SteadyTime::InfiniteFuture()), kUnproven, kUnproven,
                 "the check needs");
}

TEST(CreateHostPair, RefusesMemoryThatIsShorterThanSaid) {
  PairOptions options = NewPair();
  options.memory[1] = NewMemory(2_MiB);
  EXPECT_FALSE(CreateHostPair(std::move(options)).ok());
}

// --- what the threads themselves find, on memory that is wrong

using Machine = kernels::HostMachine;
constexpr Lane kAlone = {.first = 0, .step = 1};

TEST(Access, ComparisonCountsEveryWrongByte) {
  std::vector<Packet> memory(100);
  auto* bytes = reinterpret_cast<std::byte*>(memory.data());
  WritePattern<Machine>(bytes, memory.size(), 1, kAlone);
  bytes[1599] ^= std::byte{1};
  bytes[33] ^= std::byte{0x80};
  bytes[32] ^= std::byte{0xff};
  Findings findings = kNoFindings;
  ComparePattern<Machine>(bytes, memory.size(), 1, kAlone, findings);
  EXPECT_EQ(findings.wrong_bytes, 3u);
  EXPECT_EQ(findings.first_wrong, 32u);
}

TEST(Access, SeedsAndPlacesDiffer) {
  EXPECT_FALSE(Same(PatternPacket(1, 0), PatternPacket(2, 0)));
  EXPECT_FALSE(Same(PatternPacket(1, 0), PatternPacket(1, 1)));
  EXPECT_TRUE(Same(PatternPacket(1, 7), PatternPacket(1, 7)));
}

// One side of an exchange whose peer sent what the test put there.
class ExchangeWithNobody : public testing::Test {
 protected:
  ExchangeWithNobody() : own_(2 * kExchangeLanes), peer_(2 * kExchangeLanes) {}

  Exchange Side(uint32_t rounds) {
    return {.own = reinterpret_cast<std::byte*>(own_.data()),
            .peer = reinterpret_cast<std::byte*>(peer_.data()),
            .own_seed = 1,
            .peer_seed = 2,
            .rounds = rounds,
            .timeout_ns = 20'000'000};
  }
  // As the peer would send it.
  void Arrive(uint32_t lane, uint32_t round) {
    Exchange mirrored = Side(1);
    mirrored.peer = mirrored.own;
    mirrored.own_seed = 2;
    SendRound<Machine>(mirrored, lane, round);
  }
  Findings Check(uint32_t lane) {
    Findings findings = kNoFindings;
    CheckRound<Machine>(Side(1), lane, 1, Machine::NowNs() + 20'000'000, findings);
    return findings;
  }

  std::vector<Slot> own_;
  std::vector<Slot> peer_;
};

// As where the thread did not run while the packet came and the time passed.
TEST_F(ExchangeWithNobody, LooksOnceMoreWhenTheTimeIsUp) {
  Findings findings = kNoFindings;
  uint32_t asked = 0;
  EXPECT_TRUE(AwaitRound<Machine>(/*deadline_ns=*/0, 1, findings,
                                  [&] { return ++asked > Machine::kTurnsPerCheck; }));
  EXPECT_EQ(findings.late_lanes, 0u);
}

TEST_F(ExchangeWithNobody, IsLateInTheFirstRound) {
  Findings findings = kNoFindings;
  probe::ExchangeRounds<Machine>(Side(3), kAlone, findings);
  EXPECT_EQ(findings.late_lanes, 1u);
  EXPECT_EQ(findings.first_late_round, 1u);
  Findings pinged = kNoFindings;
  PingPong<Machine>(Side(3), Turn::kFirst, pinged);
  EXPECT_EQ(pinged.late_lanes, 1u);
}

TEST_F(ExchangeWithNobody, FindsNothingWrongWithWhatWasSent) {
  Arrive(5, 1);
  const Findings findings = Check(5);
  EXPECT_EQ(findings.torn_packets + findings.disordered_reads + findings.late_lanes, 0u);
}

TEST_F(ExchangeWithNobody, SeesATornPacket) {
  Arrive(5, 1);
  SlotOf(reinterpret_cast<std::byte*>(own_.data()), 5, 1)->packet.word[0] ^= 1;
  EXPECT_EQ(Check(5).torn_packets, 1u);
}

TEST_F(ExchangeWithNobody, SeesDataThatTheFlagOvertook) {
  Arrive(5, 1);
  SlotOf(reinterpret_cast<std::byte*>(own_.data()), 5, 1)->data[2] = Packet{};
  EXPECT_EQ(Check(5).disordered_reads, 1u);
}

TEST_F(ExchangeWithNobody, IsLateWithoutTheFlag) {
  Arrive(5, 1);
  SlotOf(reinterpret_cast<std::byte*>(own_.data()), 5, 1)->flag = 0;
  EXPECT_EQ(Check(5).late_lanes, 1u);
}

}  // namespace
}  // namespace nodecomm::probe
