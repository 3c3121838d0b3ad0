// Two GPUs whose memory this process has mapped: the narrow interface behind which CUDA, a
// simulated host and faulty hardware in tests differ. Not the order of steps, nor what they mean
// (check.h). Design note: daemon/probe/README.md.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/quantities.h"
#include "client/base/unique_fd.h"
#include "daemon/probe/access.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm::probe {

enum class Side { kA = 0, kB = 1 };

constexpr size_t IndexOf(Side side) { return static_cast<size_t>(side); }
constexpr Side OtherOf(Side side) { return side == Side::kA ? Side::kB : Side::kA; }

// Of what a side sends in an exchange.
constexpr uint64_t ExchangeSeed(Side side) { return 0x6e6f6465ull + IndexOf(side); }

// What the driver says of one GPU's access to the other.
struct DriverWord {
  v1::PeerAccess access = v1::PEER_ACCESS_UNKNOWN;
  v1::PeerAccess native_atomics = v1::PEER_ACCESS_UNKNOWN;
  std::optional<int> performance_rank;
};

struct Compared {
  Findings findings = kNoFindings;
  absl::Duration duration;
};

// By the side that found them.
using FindingsOfBoth = std::array<Findings, 2>;

// How often a pair should send to and fro: enough to meet a fault that is rare, and no more than
// its platform does in a moment.
struct Rounds {
  uint32_t exchange = 0;
  uint32_t ping_pong = 0;
};

// One thread. An error says that a step could not run, not that the hardware is wrong. Only
// ExchangeRounds and PingPong wait for the other side; they are bounded by `timeout`.
class GpuPair {
 public:
  virtual ~GpuPair() = default;

  // Bytes of memory on each side.
  virtual ByteCount bytes() const = 0;
  virtual Rounds rounds() const = 0;
  // Of `from`'s access to the other side.
  virtual DriverWord AskDriver(Side from) = 0;

  // `writer`'s threads fill `owner`'s memory with a pattern of `seed`. How long it took.
  virtual absl::StatusOr<absl::Duration> Write(Side writer, Side owner, uint64_t seed) = 0;
  // `reader`'s threads compare `owner`'s memory with it.
  virtual absl::StatusOr<Compared> Compare(Side reader, Side owner, uint64_t seed) = 0;
  // Both sides send and check at the same time, kExchangeLanes lanes each.
  virtual absl::StatusOr<FindingsOfBoth> ExchangeRounds(uint32_t rounds,
                                                        absl::Duration timeout) = 0;
  // Side A asks, side B answers.
  virtual absl::StatusOr<FindingsOfBoth> PingPong(uint32_t rounds, absl::Duration timeout) = 0;
};

// Who is to be tried, with what. The memory is side A's and side B's.
struct PairOptions {
  std::array<std::string, 2> gpu_uuids;
  std::array<UniqueFd, 2> memory;
  ByteCount bytes;
};

// The GPUs may be one and the same. NotFound: this process has no such GPU.
absl::StatusOr<std::unique_ptr<GpuPair>> CreateCudaPair(PairOptions options);
// Host memory and host threads.
absl::StatusOr<std::unique_ptr<GpuPair>> CreateHostPair(PairOptions options);

}  // namespace nodecomm::probe
