#include "daemon/service/gpu_holders.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "daemon/session/peer.h"

namespace nodecomm {
namespace {

// Such a process lets go of nothing, whatever it is told.
std::string WhyItDoesNotLetGo(pid_t pid) {
  switch (ReadProcessState(pid)) {
    case v1::PROCESS_STATE_STOPPED:
      return absl::StrFormat(", which is stopped (kill -CONT %d, or end it)", pid);
    case v1::PROCESS_STATE_TRACED:
      return ", which a debugger has stopped";
    case v1::PROCESS_STATE_UNINTERRUPTIBLE:
      return ", which waits in the kernel";
    default:
      return "";
  }
}

}  // namespace

std::vector<std::string> GroupsOn(const std::vector<v1::GroupInfo>& groups,
                                  const std::string& gpu_uuid) {
  std::vector<std::string> names;
  for (const v1::GroupInfo& group : groups) {
    const auto on_it = [&](const v1::GroupMember& member) { return member.gpu_uuid() == gpu_uuid; };
    if (!group.holds_memory()) continue;
    // The member there may have left: all have mapped its plane, and it is held until the last has
    // let go.
    if (std::none_of(group.members().begin(), group.members().end(), on_it)) continue;
    std::vector<std::string> holders;
    for (const v1::GroupMember& member : group.members()) {
      if (member.left()) continue;
      holders.push_back(absl::StrFormat("rank %d, process %d%s", member.rank(), member.pid(),
                                        WhyItDoesNotLetGo(member.pid())));
    }
    names.push_back(absl::StrFormat("%s (generation %d%s): %s", group.name(), group.generation(),
                                    group.state() == v1::GROUP_STATE_ABORTED ? ", aborted" : "",
                                    absl::StrJoin(holders, "; ")));
  }
  return names;
}

bool HoldsNothing(const std::vector<v1::PoolInfo>& pools, const std::string& gpu_uuid) {
  return std::none_of(pools.begin(), pools.end(), [&](const v1::PoolInfo& pool) {
    return pool.gpu_uuid() == gpu_uuid &&
           (pool.planes_in_use() > 0 || pool.planes_ready() > 0 || pool.bytes_pending() > 0);
  });
}

}  // namespace nodecomm
