// Has the daemon prove peer access, and waits for it. Not the proof: daemon/proof.
// Design note: client/cli/README.md.
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/admin_client.h"

namespace nodecomm {

enum class ProveWhich { kMissing, kAll };

// Starts a run, or joins the one that is going on, and asks every `interval` how far it is.
// The last answer if it goes on after `timeout`: its check is running() then.
absl::StatusOr<v1::GetTopologyResponse> CheckPeers(
    AdminClient& client, ProveWhich which, absl::Duration timeout,
    const std::function<void(const v1::PeerCheckProgress&)>& progress,
    absl::Duration interval = absl::Milliseconds(100));

}  // namespace nodecomm
