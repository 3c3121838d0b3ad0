#include "client/cli/peer_check.h"

#include "absl/time/clock.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"

namespace nodecomm {

absl::StatusOr<v1::GetTopologyResponse> CheckPeers(
    AdminClient& client, ProveWhich which, absl::Duration timeout,
    const std::function<void(const v1::PeerCheckProgress&)>& progress, absl::Duration interval) {
  v1::CheckPeersRequest request;
  request.set_force(which == ProveWhich::kAll);
  ABSL_RETURN_IF_ERROR(client.CheckPeers(request).status());
  const SteadyTime deadline = SteadyNow() + timeout;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(v1::GetTopologyResponse topology, client.GetTopology());
    progress(topology.check());
    if (!topology.check().running() || SteadyNow() >= deadline) return topology;
    absl::SleepFor(interval);
  }
}

}  // namespace nodecomm
