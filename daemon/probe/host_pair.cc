// The simulated host's pair: memory files, and a thread for a GPU.
// Not fast, and no proof of anything but the program. Design note: daemon/probe/README.md.
#include <cstring>
#include <thread>
#include <utility>

#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"
#include "client/mapping/host_memory.h"
#include "daemon/probe/gpu_pair.h"
#include "kernels/device/host.h"

namespace nodecomm::probe {
namespace {

using Machine = kernels::HostMachine;

constexpr Lane kAlone = {.first = 0, .step = 1};

class HostPair final : public GpuPair {
 public:
  HostPair(std::array<Mapping, 2> memory, ByteCount bytes)
      : memory_(std::move(memory)), bytes_(bytes) {}

  ByteCount bytes() const override { return bytes_; }
  // Each may cost a turn of a scheduler that has other work.
  Rounds rounds() const override { return {.exchange = 4, .ping_pong = 20}; }
  DriverWord AskDriver(Side /*from*/) override {
    return {.access = v1::PEER_ACCESS_SUPPORTED,
            .native_atomics = v1::PEER_ACCESS_UNKNOWN,
            .performance_rank = std::nullopt};
  }

  absl::StatusOr<absl::Duration> Write(Side /*writer*/, Side owner, uint64_t seed) override {
    const SteadyTime start = SteadyNow();
    WritePattern<Machine>(Data(owner), Packets(), seed, kAlone);
    return SteadyNow() - start;
  }

  absl::StatusOr<Compared> Compare(Side /*reader*/, Side owner, uint64_t seed) override {
    Compared compared{.findings = kNoFindings, .duration = {}};
    const SteadyTime start = SteadyNow();
    ComparePattern<Machine>(Data(owner), Packets(), seed, kAlone, compared.findings);
    compared.duration = SteadyNow() - start;
    return compared;
  }

  absl::StatusOr<FindingsOfBoth> ExchangeRounds(uint32_t rounds, absl::Duration timeout) override {
    return OnBothSides(rounds, timeout, [](const Exchange& exchange, Side, Findings& findings) {
      probe::ExchangeRounds<Machine>(exchange, kAlone, findings);
    });
  }

  absl::StatusOr<FindingsOfBoth> PingPong(uint32_t rounds, absl::Duration timeout) override {
    return OnBothSides(rounds, timeout,
                       [](const Exchange& exchange, Side side, Findings& findings) {
                         probe::PingPong<Machine>(
                             exchange, side == Side::kA ? Turn::kFirst : Turn::kSecond, findings);
                       });
  }

 private:
  std::byte* Data(Side side) { return memory_[IndexOf(side)].data(); }
  uint64_t Packets() const { return bytes_.value / sizeof(Packet); }

  template <typename Act>
  FindingsOfBoth OnBothSides(uint32_t rounds, absl::Duration timeout, Act act) {
    for (const Side side : {Side::kA, Side::kB}) std::memset(Data(side), 0, kExchangeBytes);
    FindingsOfBoth found = {kNoFindings, kNoFindings};
    const auto run = [&](Side side) {
      const Exchange exchange = {
          .own = Data(side),
          .peer = Data(OtherOf(side)),
          .own_seed = ExchangeSeed(side),
          .peer_seed = ExchangeSeed(OtherOf(side)),
          .rounds = rounds,
          .timeout_ns = static_cast<uint64_t>(absl::ToInt64Nanoseconds(timeout))};
      act(exchange, side, found[IndexOf(side)]);
    };
    std::thread second(run, Side::kB);
    run(Side::kA);
    second.join();
    return found;
  }

  std::array<Mapping, 2> memory_;
  const ByteCount bytes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GpuPair>> CreateHostPair(PairOptions options) {
  std::array<Mapping, 2> memory;
  for (const Side side : {Side::kA, Side::kB}) {
    ABSL_ASSIGN_OR_RETURN(memory[IndexOf(side)],
                          MapFileReadWrite(options.memory[IndexOf(side)], options.bytes));
  }
  return std::make_unique<HostPair>(std::move(memory), options.bytes);
}

}  // namespace nodecomm::probe
