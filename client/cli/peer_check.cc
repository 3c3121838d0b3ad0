#include "client/cli/peer_check.h"

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/base/status_macros.h"
#include "client/cli/text_table.h"

namespace nodecomm {

absl::StatusOr<v1::GetTopologyResponse> CheckPeers(
    AdminClient& client, ProveWhich which, absl::Duration timeout,
    const std::function<void(const v1::PeerCheckProgress&)>& progress, absl::Duration interval) {
  v1::CheckPeersRequest request;
  request.set_force(which == ProveWhich::kAll);
  ABSL_RETURN_IF_ERROR(client.CheckPeers(request).status());
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(v1::GetTopologyResponse topology, client.GetTopology());
    progress(topology.check());
    if (!topology.check().running()) return topology;
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrFormat(
          "tried within %s: %d of %s; the daemon goes on, see `nodecommctl p2p show`",
          absl::FormatDuration(timeout), topology.check().pairs_done(),
          Counted(topology.check().pairs_total(), "pair")));
    }
    absl::SleepFor(interval);
  }
}

}  // namespace nodecomm
