// Proves a pair by running the program nodecomm-probe on fresh memory of both GPUs, so that CUDA
// contexts, and what a broken driver does to them, end with that process.
// Not the check itself: that is daemon/probe. Design note: daemon/proof/README.md.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/quantities.h"
#include "daemon/memory/plane_source.h"
#include "daemon/proof/pair_probe.h"
#include "nodecomm/v1/session.pb.h"

namespace nodecomm {

// What the program has beyond its own deadline: to say what it found, and to start on a slow
// machine.
inline constexpr absl::Duration kAnswerGrace = absl::Seconds(3);

class ProgramPairProbe final : public PairProbe {
 public:
  struct Options {
    std::string program;
    v1::Platform platform = v1::PLATFORM_UNSPECIFIED;
    ByteCount bytes;         // each way
    absl::Duration timeout;  // the program's own; it is killed a little later
  };

  // `source` outlives it.
  ProgramPairProbe(Options options, PlaneSource* source)
      : options_(std::move(options)), source_(source) {}

  // NotFound or PermissionDenied: the program cannot be run.
  absl::Status CanTry() const override;
  absl::StatusOr<std::vector<v1::PeerProof>> Prove(const GpuPair& pair,
                                                   const absl::Notification& cancelled) override;

 private:
  absl::StatusOr<std::vector<v1::PeerProof>> Run(const GpuPair& pair,
                                                 const absl::Notification& cancelled);

  const Options options_;
  PlaneSource* const source_;
};

}  // namespace nodecomm
