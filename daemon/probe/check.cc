#include "daemon/probe/check.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/base/status_macros.h"

namespace nodecomm::probe {
namespace {

// The first run of each also warms up: it finds the pages, and loads what is not loaded.
constexpr int kTimedRuns = 3;

// What is wrong with the data vetoes: the pair's hardware or driver is at fault. What is late may
// be the host's doing, which stopped this process, or one of its kernels, for longer than there was
// time.
struct Fault {
  enum class Kind { kWrong, kLate };
  std::string what;
  Kind kind = Kind::kWrong;
};
using Outcome = absl::StatusOr<std::optional<Fault>>;

class Check {
 public:
  Check(GpuPair& pair, const std::array<std::string, 2>& gpu_uuids, SteadyTime deadline)
      : pair_(pair),
        gpu_uuids_(gpu_uuids),
        deadline_(deadline),
        begin_exchange_by_(deadline - (deadline - SteadyNow()) / 2) {}

  v1::PeerProofs Run() {
    v1::PeerProofs proofs;
    for (const Side from : {Side::kA, Side::kB}) *proofs.add_proofs() = ProveMemory(from);
    ProveOrder(proofs);
    MeasureRoundTrip(proofs);
    for (v1::PeerProof& proof : *proofs.mutable_proofs()) {
      if (proof.verdict() == v1::PROOF_VERDICT_UNSPECIFIED) {
        proof.set_verdict(v1::PROOF_VERDICT_PROVEN);
      }
      proof.set_unix_time_ms(absl::ToUnixMillis(absl::Now()));
    }
    return proofs;
  }

 private:
  // --- every byte, written and read from afar

  v1::PeerProof ProveMemory(Side from) {
    v1::PeerProof proof = NewProof(from);
    Settle(TryMemory(from, proof), proof);
    return proof;
  }

  Outcome TryMemory(Side from, v1::PeerProof& proof) {
    const Side to = OtherOf(from);
    ABSL_ASSIGN_OR_RETURN(std::optional<Fault> fault, TryWriting(from, to, proof));
    if (!fault.has_value()) {
      ABSL_ASSIGN_OR_RETURN(fault, TryReading(from, to, proof));
    }
    if (!fault.has_value()) proof.set_bytes_checked(pair_.bytes().value);
    return fault;
  }

  Outcome TryWriting(Side from, Side to, v1::PeerProof& proof) {
    absl::Duration best = absl::InfiniteDuration();
    uint64_t seed = 0;
    for (int run = 0; run < kTimedRuns; ++run) {
      ABSL_RETURN_IF_ERROR(CheckTime());
      seed = NextSeed();
      ABSL_ASSIGN_OR_RETURN(const absl::Duration took, pair_.Write(from, to, seed));
      best = std::min(best, took);
    }
    proof.set_write_gigabytes_per_second(GigabytesPerSecond(best));
    ABSL_RETURN_IF_ERROR(CheckTime());
    // Its own GPU reads what has arrived.
    ABSL_ASSIGN_OR_RETURN(const Compared compared, pair_.Compare(to, to, seed));
    return WrongBytes(compared.findings, "written by the first GPU");
  }

  Outcome TryReading(Side from, Side to, v1::PeerProof& proof) {
    ABSL_RETURN_IF_ERROR(CheckTime());
    const uint64_t seed = NextSeed();
    ABSL_RETURN_IF_ERROR(pair_.Write(to, to, seed).status());
    ABSL_ASSIGN_OR_RETURN(const Compared own, pair_.Compare(to, to, seed));
    if (auto fault = WrongBytes(own.findings, "written and read by the second GPU itself")) {
      return fault;
    }
    absl::Duration best = absl::InfiniteDuration();
    for (int run = 0; run < kTimedRuns; ++run) {
      ABSL_RETURN_IF_ERROR(CheckTime());
      ABSL_ASSIGN_OR_RETURN(const Compared compared, pair_.Compare(from, to, seed));
      if (auto fault = WrongBytes(compared.findings, "read by the first GPU")) return fault;
      best = std::min(best, compared.duration);
    }
    proof.set_read_gigabytes_per_second(GigabytesPerSecond(best));
    return std::nullopt;
  }

  std::optional<Fault> WrongBytes(const Findings& findings, std::string_view how) const {
    if (findings.wrong_bytes == 0) return std::nullopt;
    return Fault{
        absl::StrFormat("%d of %d bytes of the second GPU's memory, %s, were wrong, the "
                        "first at byte %d",
                        findings.wrong_bytes, pair_.bytes().value, how, findings.first_wrong)};
  }

  // --- order, and packets in one piece

  void ProveOrder(v1::PeerProofs& proofs) {
    // What is late then was not so for want of time before.
    const absl::Status in_time = CheckTime(begin_exchange_by_);
    const absl::StatusOr<FindingsOfBoth> found =
        in_time.ok() ? pair_.ExchangeRounds(pair_.rounds().exchange, TimeLeft())
                     : absl::StatusOr<FindingsOfBoth>(in_time);
    SettleBoth(found, proofs);
  }

  void MeasureRoundTrip(v1::PeerProofs& proofs) {
    const absl::Status in_time = CheckTime();
    const absl::StatusOr<FindingsOfBoth> found =
        in_time.ok() ? pair_.PingPong(pair_.rounds().ping_pong, TimeLeft())
                     : absl::StatusOr<FindingsOfBoth>(in_time);
    SettleBoth(found, proofs);
    if (!found.ok()) return;
    const auto nanoseconds =
        static_cast<int64_t>((*found)[IndexOf(Side::kA)].nanoseconds / pair_.rounds().ping_pong);
    for (v1::PeerProof& proof : *proofs.mutable_proofs()) proof.set_round_trip_ns(nanoseconds);
  }

  // What a side finds wrong was sent by the other.
  void SettleBoth(const absl::StatusOr<FindingsOfBoth>& found, v1::PeerProofs& proofs) {
    for (const Side from : {Side::kA, Side::kB}) {
      v1::PeerProof& proof = *proofs.mutable_proofs(static_cast<int>(IndexOf(from)));
      Settle(found.ok() ? Outcome(FaultOf(*found, OtherOf(from))) : Outcome(found.status()), proof);
    }
  }

  static std::optional<Fault> FaultOf(const FindingsOfBoth& found, Side receiver) {
    const Findings& here = found[IndexOf(receiver)];
    const Findings& there = found[IndexOf(OtherOf(receiver))];
    if (here.torn_packets > 0) {
      return Fault{absl::StrFormat("%d packets of 16 bytes arrived in pieces or with wrong data",
                                   here.torn_packets)};
    }
    if (here.disordered_reads > 0) {
      return Fault{absl::StrFormat("data was overtaken by the flag that follows it, %d times",
                                   here.disordered_reads)};
    }
    // Who waits in vain for a round also keeps the other from the next one; the earlier round tells
    // which direction lost something.
    if (here.late_lanes == 0 || here.first_late_round > there.first_late_round) {
      return std::nullopt;
    }
    return Fault{.what = absl::StrFormat("a packet did not arrive in time (round %d): it was lost, "
                                         "or the host stalled",
                                         here.first_late_round),
                 .kind = Fault::Kind::kLate};
  }

  // --- what they share

  v1::PeerProof NewProof(Side from) {
    v1::PeerProof proof;
    proof.set_from_uuid(gpu_uuids_[IndexOf(from)]);
    proof.set_to_uuid(gpu_uuids_[IndexOf(OtherOf(from))]);
    const DriverWord word = pair_.AskDriver(from);
    proof.set_cuda_access(word.access);
    proof.set_cuda_native_atomics(word.native_atomics);
    if (word.performance_rank.has_value()) {
      proof.set_cuda_performance_rank(*word.performance_rank);
    }
    return proof;
  }

  // The first thing that is wrong decides; a fault outweighs a step that could not run.
  static void Settle(const Outcome& outcome, v1::PeerProof& proof) {
    if (proof.verdict() == v1::PROOF_VERDICT_FAILED) return;
    const bool is_fault = outcome.ok() && outcome->has_value();
    const bool is_late = is_fault && (*outcome)->kind == Fault::Kind::kLate;
    if (is_fault && !is_late) {
      proof.set_verdict(v1::PROOF_VERDICT_FAILED);
      proof.set_reason((*outcome)->what);
      proof.clear_late();
    } else if ((is_late || !outcome.ok()) && proof.verdict() == v1::PROOF_VERDICT_UNSPECIFIED) {
      proof.set_verdict(v1::PROOF_VERDICT_UNPROVEN);
      proof.set_reason(is_late ? (*outcome)->what : std::string(outcome.status().message()));
      proof.set_late(is_late);
    }
  }

  absl::Status CheckTime() const { return CheckTime(deadline_); }
  static absl::Status CheckTime(SteadyTime limit) {
    if (SteadyNow() < limit) return absl::OkStatus();
    return absl::DeadlineExceededError("there was not enough time for all steps");
  }
  absl::Duration TimeLeft() const { return deadline_ - SteadyNow(); }
  double GigabytesPerSecond(absl::Duration took) const {
    return static_cast<double>(pair_.bytes().value) / 1e9 / absl::ToDoubleSeconds(took);
  }
  uint64_t NextSeed() { return Mix(++seeds_); }

  GpuPair& pair_;
  const std::array<std::string, 2>& gpu_uuids_;
  const SteadyTime deadline_;
  const SteadyTime begin_exchange_by_;
  uint64_t seeds_ = 0;
};

}  // namespace

v1::PeerProofs ProvePair(GpuPair& pair, const std::array<std::string, 2>& gpu_uuids,
                         SteadyTime deadline) {
  if (pair.bytes() < ByteCount{kExchangeBytes}) {
    return CouldNotProve(gpu_uuids, absl::InvalidArgumentError(
                                        absl::StrFormat("%d bytes of memory; the check needs %d",
                                                        pair.bytes().value, kExchangeBytes)));
  }
  return Check(pair, gpu_uuids, deadline).Run();
}

v1::PeerProofs CouldNotProve(const std::array<std::string, 2>& gpu_uuids, const absl::Status& why) {
  v1::PeerProofs proofs;
  for (const Side from : {Side::kA, Side::kB}) {
    v1::PeerProof* proof = proofs.add_proofs();
    proof->set_from_uuid(gpu_uuids[IndexOf(from)]);
    proof->set_to_uuid(gpu_uuids[IndexOf(OtherOf(from))]);
    proof->set_verdict(v1::PROOF_VERDICT_UNPROVEN);
    proof->set_reason(std::string(why.message()));
    proof->set_unix_time_ms(absl::ToUnixMillis(absl::Now()));
  }
  return proofs;
}

}  // namespace nodecomm::probe
