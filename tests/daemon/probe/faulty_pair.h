// A simulated pair of GPUs whose hardware is wrong in one way of a test's choice.
#pragma once

#include <sys/mman.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "client/base/status_macros.h"
#include "client/mapping/host_memory.h"
#include "daemon/probe/gpu_pair.h"

namespace nodecomm::probe {

struct Faults {
  // After each write by the other GPU, this byte of the owner's memory is another one.
  std::optional<uint64_t> corrupt_byte;
  // After each write by the owner itself, likewise.
  std::optional<uint64_t> corrupt_own_byte;
  // Of what the receiving side finds in an exchange.
  Side receiver = Side::kB;
  uint64_t torn_packets = 0;
  uint64_t disordered_reads = 0;
  bool loses_a_packet = false;
  absl::Duration first_write_takes;  // more than it does
  absl::Status write_error;
  absl::Status exchange_error;
};

class FaultyPair final : public GpuPair {
 public:
  static absl::StatusOr<std::unique_ptr<GpuPair>> Create(PairOptions options, Faults faults) {
    std::array<Mapping, 2> memory;
    for (size_t i = 0; i < 2; ++i) {
      ABSL_ASSIGN_OR_RETURN(memory[i], MapFileReadWrite(options.memory[i], options.bytes));
    }
    ABSL_ASSIGN_OR_RETURN(std::unique_ptr<GpuPair> sound, CreateHostPair(std::move(options)));
    return std::unique_ptr<GpuPair>(
        new FaultyPair(std::move(sound), std::move(memory), std::move(faults)));
  }

  ByteCount bytes() const override { return sound_->bytes(); }
  Rounds rounds() const override { return sound_->rounds(); }
  DriverWord AskDriver(Side from) override { return sound_->AskDriver(from); }

  absl::StatusOr<absl::Duration> Write(Side writer, Side owner, uint64_t seed) override {
    if (!faults_.write_error.ok()) return faults_.write_error;
    absl::SleepFor(std::exchange(faults_.first_write_takes, absl::ZeroDuration()));
    ABSL_ASSIGN_OR_RETURN(const absl::Duration took, sound_->Write(writer, owner, seed));
    const auto& byte = writer == owner ? faults_.corrupt_own_byte : faults_.corrupt_byte;
    if (byte.has_value()) memory_[IndexOf(owner)].data()[*byte] ^= std::byte{0x10};
    return took;
  }
  absl::StatusOr<Compared> Compare(Side reader, Side owner, uint64_t seed) override {
    return sound_->Compare(reader, owner, seed);
  }
  absl::StatusOr<FindingsOfBoth> ExchangeRounds(uint32_t rounds, absl::Duration timeout) override {
    if (!faults_.exchange_error.ok()) return faults_.exchange_error;
    ABSL_ASSIGN_OR_RETURN(FindingsOfBoth found, sound_->ExchangeRounds(rounds, timeout));
    Findings& receiver = found[IndexOf(faults_.receiver)];
    receiver.torn_packets += faults_.torn_packets;
    receiver.disordered_reads += faults_.disordered_reads;
    if (faults_.loses_a_packet) {
      // Who waits for it in round 7 does not send in round 8.
      receiver.late_lanes = 1;
      receiver.first_late_round = 7;
      found[IndexOf(OtherOf(faults_.receiver))].late_lanes = 1;
      found[IndexOf(OtherOf(faults_.receiver))].first_late_round = 8;
    }
    return found;
  }
  absl::StatusOr<FindingsOfBoth> PingPong(uint32_t rounds, absl::Duration timeout) override {
    return sound_->PingPong(rounds, timeout);
  }

 private:
  FaultyPair(std::unique_ptr<GpuPair> sound, std::array<Mapping, 2> memory, Faults faults)
      : sound_(std::move(sound)), memory_(std::move(memory)), faults_(std::move(faults)) {}

  const std::unique_ptr<GpuPair> sound_;
  const std::array<Mapping, 2> memory_;
  Faults faults_;
};

}  // namespace nodecomm::probe
