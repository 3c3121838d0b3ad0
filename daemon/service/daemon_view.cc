#include "daemon/service/daemon_view.h"

#include <unistd.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/base/utf8.h"
#include "client/base/version.h"
#include "daemon/process/open_fds.h"
#include "daemon/service/gpu_holders.h"
#include "daemon/session/peer.h"
#include "daemon/topology/lost_access.h"

namespace nodecomm {
namespace {

bool IsSimulated(const DaemonView& view) { return view.platform == v1::PLATFORM_SIMULATED; }

bool IsForming(const v1::GroupInfo& group) {
  return group.state() == v1::GROUP_STATE_GATHERING || group.state() == v1::GROUP_STATE_MAPPING;
}

void CountGpus(const v1::Host& host, v1::GetStatusResponse& answer) {
  int lost = 0;
  int draining = 0;
  for (const v1::Gpu& gpu : host.gpus()) {
    lost += gpu.condition() == v1::GPU_CONDITION_LOST ? 1 : 0;
    draining += gpu.condition() == v1::GPU_CONDITION_DRAINING ? 1 : 0;
  }
  answer.set_gpus(host.gpus_size());
  answer.set_gpus_lost(lost);
  answer.set_gpus_draining(draining);
}

std::set<std::string> ServedGpus(const v1::Host& host) {
  std::set<std::string> served;
  for (const v1::Gpu& gpu : host.gpus()) {
    if (gpu.condition() == v1::GPU_CONDITION_UNSPECIFIED) served.insert(gpu.uuid());
  }
  return served;
}

// Of GPUs that serve groups: what was proven of one that is lost, or drained, is of no use now. A
// pair that was never tried is unproven.
void CountPairs(const DaemonView& view, v1::GetStatusResponse& answer) {
  const std::set<std::string> served = ServedGpus(view.host->host());
  int proven = 0;
  int failed = 0;
  const v1::PeerProofs proofs = view.host->proofs();
  for (const v1::PeerProof& proof : proofs.proofs()) {
    if (!served.contains(proof.from_uuid()) || !served.contains(proof.to_uuid())) continue;
    proven += proof.verdict() == v1::PROOF_VERDICT_PROVEN ? 1 : 0;
    failed += proof.verdict() == v1::PROOF_VERDICT_FAILED ? 1 : 0;
  }
  const int gpus = static_cast<int>(served.size());
  answer.set_pairs_proven(proven);
  answer.set_pairs_failed(failed);
  answer.set_pairs_unproven(gpus * (gpus - 1) - proven - failed);
}

template <typename Answer>
void ListDrains(const DaemonView& view, Answer& answer) {
  const auto add = [&](const std::string& uuid, v1::DrainState state) {
    v1::GpuDrain* const drain = answer.add_drains();
    drain->set_gpu_uuid(uuid);
    drain->set_state(state);
  };
  const v1::Host host = view.host->host();
  for (const v1::Gpu& gpu : host.gpus()) {
    if (gpu.condition() != v1::GPU_CONDITION_DRAINING) continue;
    const bool held = !GroupsOn(view.groups->List(), gpu.uuid()).empty() ||
                      !HoldsNothing(view.pool->List(), gpu.uuid()) ||
                      view.prover->IsTrying(gpu.uuid());
    add(gpu.uuid(), held ? v1::DRAIN_STATE_DRAINING : v1::DRAIN_STATE_DRAINED);
  }
  if (view.gpus == nullptr) return;
  for (const std::string& uuid : view.gpus->DrainedAndGone()) add(uuid, v1::DRAIN_STATE_GONE);
}

void ListLinkTroubles(const DaemonView& view, v1::GetStatusResponse& answer) {
  for (const v1::Link& link : FindLostAccess(view.host->host(), view.host->proofs())) {
    v1::LostAccess* const lost = answer.add_access_lost();
    lost->set_from_uuid(link.from_uuid());
    lost->set_to_uuid(link.to_uuid());
    lost->set_reason(link.peer_access_reason());
  }
  for (const auto& [uuid, errors] : view.host->NewLinkErrors()) {
    v1::NvlinkErrors* const counted = answer.add_nvlink_errors();
    counted->set_gpu_uuid(uuid);
    counted->set_errors(errors);
  }
}

}  // namespace

v1::GetHostResponse AnswerGetHost(const DaemonView& view) {
  v1::GetHostResponse answer;
  *answer.mutable_host() = view.host->host();
  answer.set_simulated(IsSimulated(view));
  return answer;
}

v1::GetStatusResponse AnswerGetStatus(const DaemonView& view) {
  v1::GetStatusResponse answer;
  answer.mutable_version()->set_major(kVersionMajor);
  answer.mutable_version()->set_minor(kVersionMinor);
  answer.mutable_version()->set_patch(kVersionPatch);
  answer.set_version_line(kVersionLine);
  answer.set_pid(getpid());
  answer.set_uptime_ms(absl::ToInt64Milliseconds(SteadyNow() - view.start_time));
  answer.set_platform(view.platform);
  answer.set_topology_source(view.inventory->Source());
  CountGpus(view.host->host(), answer);
  answer.set_sessions(view.sessions->session_count());
  int forming = 0;
  int ready = 0;
  for (const v1::GroupInfo& group : view.groups->List()) {
    forming += IsForming(group) ? 1 : 0;
    ready += group.state() == v1::GROUP_STATE_READY ? 1 : 0;
  }
  answer.set_groups_forming(forming);
  answer.set_groups_ready(ready);
  answer.set_driver_trusted(view.driver_trusted);
  answer.set_not_ready(view.not_ready());
  answer.set_runtime_dir_problem(view.runtime_dir_problem());
  answer.set_write_problem(view.write_problem());
  // It may quote the file, whose bytes can be any.
  const std::string reload_problem = view.reload_problem();
  answer.set_reload_problem(ToUtf8(reload_problem, reload_problem.size()));
  answer.set_metrics_problem(view.metrics_problem());
  answer.set_log_problem(view.log_problem());
  if (view.gpus != nullptr) answer.set_gpu_errors_problem(view.gpus->WhyErrorsAreNotWatched());
  answer.set_open_fds(CountOpenFds());
  answer.set_open_fds_max(OpenFdsMax());
  for (const auto& [uid, connections] : view.sessions->ControlConnections()) {
    v1::UserConnections* const of_user = answer.add_control_connections();
    of_user->set_uid(uid);
    of_user->set_connections(connections);
  }
  CountPairs(view, answer);
  ListLinkTroubles(view, answer);
  ListDrains(view, answer);
  return answer;
}

absl::StatusOr<v1::GetTopologyResponse> AnswerGetTopology(const DaemonView& view) {
  v1::GetTopologyResponse answer;
  ABSL_RETURN_IF_ERROR(view.refresh_host());
  *answer.mutable_host() = view.host->host();
  answer.set_simulated(IsSimulated(view));
  *answer.mutable_proofs() = view.host->proofs().proofs();
  *answer.mutable_check() = view.prover->Progress();
  answer.set_driver_trusted(view.driver_trusted);
  ListDrains(view, answer);
  return answer;
}

absl::StatusOr<v1::CheckPeersResponse> AnswerCheckPeers(const DaemonView& view,
                                                        const v1::CheckPeersRequest& request) {
  if (const absl::Status can_try = view.prover->CanTry(); request.force() && !can_try.ok()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("nothing is proven anew, and what was proven stays: %s; install all of "
                        "nodecomm's programs of one version",
                        can_try.message()));
  }
  const absl::StatusOr<bool> started =
      view.prover->Start(request.force() ? PeerProver::Which::kAll : PeerProver::Which::kMissing);
  if (request.force() && !started.ok()) {
    return absl::Status(
        started.status().code(),
        absl::StrFormat("nothing is proven anew, and what was proven stays: %s; the daemon tries "
                        "again by itself",
                        started.status().message()));
  }
  v1::CheckPeersResponse answer;
  answer.set_started(started.value_or(false));
  return answer;
}

absl::StatusOr<v1::ExplainFastPathResponse> AnswerExplainFastPath(
    const DaemonView& view, const v1::ExplainFastPathRequest& request) {
  std::set<std::string> known;
  const v1::Host host = view.host->host();
  for (const v1::Gpu& gpu : host.gpus()) known.insert(gpu.uuid());
  for (const std::string& uuid : request.gpu_uuids()) {
    if (known.contains(uuid)) continue;
    return absl::InvalidArgumentError(absl::StrFormat("this host has no GPU %s", uuid));
  }
  const std::vector<std::string> uuids(request.gpu_uuids().begin(), request.gpu_uuids().end());
  v1::ExplainFastPathResponse answer;
  *answer.mutable_fast_path() = view.admission->DecideFastPath(uuids);
  return answer;
}

v1::ListGroupsResponse AnswerListGroups(const DaemonView& view) {
  v1::ListGroupsResponse answer;
  for (v1::GroupInfo& group : view.groups->List()) {
    for (v1::GroupMember& member : *group.mutable_members()) {
      if (!member.left()) member.set_process_state(ReadProcessState(member.pid()));
    }
    *answer.add_groups() = std::move(group);
  }
  return answer;
}

v1::ListSessionsResponse AnswerListSessions(const DaemonView& view) {
  std::map<std::string, std::vector<uint64_t>> generations;
  for (const v1::GroupInfo& group : view.groups->List()) {
    std::set<std::string> holders;  // a process may hold several ranks
    for (const v1::GroupMember& member : group.members()) {
      if (!member.left()) holders.insert(member.session());
    }
    for (const std::string& session : holders) generations[session].push_back(group.generation());
  }
  v1::ListSessionsResponse answer;
  const SteadyTime now = SteadyNow();
  for (const SessionTable::Session& session : view.sessions->List()) {
    v1::SessionInfo* info = answer.add_sessions();
    info->set_session(absl::StrFormat("%016x", session.caller.session.value));
    info->set_uid(session.caller.uid);
    info->set_pid(session.caller.pid);
    info->set_age_ms(absl::ToInt64Milliseconds(now - session.since));
    info->set_process_state(ReadProcessState(session.caller.pid));
    for (const uint64_t generation : generations[info->session()]) {
      info->add_generations(generation);
    }
  }
  return answer;
}

v1::ListPoolsResponse AnswerListPools(const DaemonView& view) {
  v1::ListPoolsResponse answer;
  for (v1::PoolInfo& pool : view.pool->List()) *answer.add_pools() = std::move(pool);
  return answer;
}

}  // namespace nodecomm
