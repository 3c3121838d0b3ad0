#include "daemon/service/daemon_view.h"

#include <unistd.h>

#include <utility>

#include "client/base/status_macros.h"
#include "client/base/version.h"

namespace nodecomm {
namespace {

bool IsSimulated(const DaemonView& view) { return view.platform == v1::PLATFORM_SIMULATED; }

bool IsForming(const v1::GroupInfo& group) {
  return group.state() == v1::GROUP_STATE_GATHERING || group.state() == v1::GROUP_STATE_MAPPING;
}

}  // namespace

v1::GetHostResponse AnswerGetHost(const DaemonView& view) {
  v1::GetHostResponse answer;
  *answer.mutable_host() = view.host;
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
  answer.set_uptime_ms(absl::ToInt64Milliseconds(absl::Now() - view.start_time));
  answer.set_platform(view.platform);
  answer.set_topology_source(view.inventory->Source());
  answer.set_gpus(view.host.gpus_size());
  answer.set_sessions(view.sessions->session_count());
  int forming = 0;
  int ready = 0;
  for (const v1::GroupInfo& group : view.groups->List()) {
    forming += IsForming(group) ? 1 : 0;
    ready += group.state() == v1::GROUP_STATE_READY ? 1 : 0;
  }
  answer.set_groups_forming(forming);
  answer.set_groups_ready(ready);
  return answer;
}

absl::StatusOr<v1::GetTopologyResponse> AnswerGetTopology(const DaemonView& view) {
  v1::GetTopologyResponse answer;
  ABSL_ASSIGN_OR_RETURN(*answer.mutable_host(), view.inventory->Read());
  answer.set_simulated(IsSimulated(view));
  return answer;
}

v1::ListGroupsResponse AnswerListGroups(const DaemonView& view) {
  v1::ListGroupsResponse answer;
  for (v1::GroupInfo& group : view.groups->List()) *answer.add_groups() = std::move(group);
  return answer;
}

v1::ListPoolsResponse AnswerListPools(const DaemonView& view) {
  v1::ListPoolsResponse answer;
  for (v1::PoolInfo& pool : view.pool->List()) *answer.add_pools() = std::move(pool);
  return answer;
}

}  // namespace nodecomm
