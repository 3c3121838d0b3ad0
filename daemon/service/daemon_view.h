// What the daemon can be asked about, and the answers to read-only questions.
// Not the transport: no gRPC here (rpc_server.cc).
// Design note: daemon/README.md, "calls".
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "daemon/group/group_registry.h"
#include "daemon/memory/plane_pool.h"
#include "daemon/proof/peer_prover.h"
#include "daemon/service/call_news.h"
#include "daemon/session/session_server.h"
#include "daemon/topology/admission.h"
#include "daemon/topology/host_state.h"
#include "daemon/topology/inventory.h"
#include "nodecomm/v1/admin.pb.h"
#include "nodecomm/v1/control.pb.h"
#include "nodecomm/v1/session.pb.h"

namespace nodecomm {

// Taking GPUs out of service and back. Implemented by main/.
class GpuControl {
 public:
  virtual ~GpuControl() = default;
  // NotFound: the host has no such GPU.
  virtual absl::StatusOr<v1::DrainGpuResponse> Drain(const v1::DrainGpuRequest& request) = 0;
  virtual absl::StatusOr<v1::UndrainGpuResponse> Undrain(const v1::UndrainGpuRequest& request) = 0;
  // UUIDs of GPUs that are drained and that the host has no more. Waits for no drain that goes on.
  virtual std::vector<std::string> DrainedAndGone() const = 0;
  // Why critical errors of GPUs are not watched; empty: they are. Likewise.
  virtual std::string WhyErrorsAreNotWatched() const = 0;
};

// Everything pointed to outlives whoever holds the view.
struct DaemonView {
  GroupRegistry* groups = nullptr;
  const PlanePool* pool = nullptr;
  const Inventory* inventory = nullptr;
  const SessionServer* sessions = nullptr;
  const HostState* host = nullptr;
  const Admission* admission = nullptr;
  PeerProver* prover = nullptr;
  GpuControl* gpus = nullptr;
  int calls_per_uid_per_second = 1000;
  bool driver_trusted = false;
  // Brings `host` up to date.
  std::function<absl::Status()> refresh_host;
  // What is in force now.
  std::function<v1::GetConfigResponse()> config;
  // Why the daemon is not ready; empty: it is.
  std::function<std::string()> not_ready = [] { return std::string(); };
  // Which of the daemon's own files somebody has removed or replaced; empty: none.
  std::function<std::string()> runtime_dir_problem = [] { return std::string(); };
  // Why no session or no group can be written down; empty: they can.
  std::function<std::string()> write_problem = [] { return std::string(); };
  // Why the last reload failed; empty: it did not.
  std::function<std::string()> reload_problem = [] { return std::string(); };
  // Why the file of metrics could not be written at the last try; empty: it could.
  std::function<std::string()> metrics_problem = [] { return std::string(); };
  // Which lines of the log are lost that it does not tell of itself; empty: none.
  std::function<std::string()> log_problem = [] { return std::string(); };
  v1::Platform platform = v1::PLATFORM_UNSPECIFIED;
  SteadyTime start_time;
  // For the log and the metrics, on gRPC's threads.
  std::function<void(const CallEnded&)> call_ended = nullptr;
  std::function<void(AuthFailure, const PeerCredentials&)> auth_failed = nullptr;
  // Has the user's connections to control.sock closed, since it floods them; on gRPC's threads.
  std::function<void(uid_t)> cut_off = [](uid_t) {};
};

// Thread-safe, as the parts are.
v1::GetHostResponse AnswerGetHost(const DaemonView& view);
v1::GetStatusResponse AnswerGetStatus(const DaemonView& view);
// The host as it is now, read anew.
absl::StatusOr<v1::GetTopologyResponse> AnswerGetTopology(const DaemonView& view);
v1::ListGroupsResponse AnswerListGroups(const DaemonView& view);
v1::ListPoolsResponse AnswerListPools(const DaemonView& view);
v1::ListSessionsResponse AnswerListSessions(const DaemonView& view);
// FailedPrecondition: all are to be proven anew, and none can be tried. ResourceExhausted:
// likewise, for want of a thread. Pairs without a proof say themselves why they have none.
absl::StatusOr<v1::CheckPeersResponse> AnswerCheckPeers(const DaemonView& view,
                                                        const v1::CheckPeersRequest& request);
// InvalidArgument: a GPU that the host does not have.
absl::StatusOr<v1::ExplainFastPathResponse> AnswerExplainFastPath(
    const DaemonView& view, const v1::ExplainFastPathRequest& request);

}  // namespace nodecomm
