// Proves peer access between two GPUs, or says what is wrong: the steps, in order, and what each
// finding means. Not the access itself (gpu_pair.h). Design note: daemon/probe/README.md.
#pragma once

#include <array>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "daemon/probe/gpu_pair.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm::probe {

// One proof a direction, A to B first. No step begins after `deadline`, and none that waits for the
// other side outlasts it.
v1::PeerProofs ProvePair(GpuPair& pair, const std::array<std::string, 2>& gpu_uuids,
                         SteadyTime deadline);

// Both directions unproven, because of `why`.
v1::PeerProofs CouldNotProve(const std::array<std::string, 2>& gpu_uuids, const absl::Status& why);

}  // namespace nodecomm::probe
