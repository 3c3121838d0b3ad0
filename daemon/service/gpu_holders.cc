#include "daemon/service/gpu_holders.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace nodecomm {

std::vector<std::string> GroupsOn(const std::vector<v1::GroupInfo>& groups,
                                  const std::string& gpu_uuid) {
  std::vector<std::string> names;
  for (const v1::GroupInfo& group : groups) {
    const auto on_it = [&](const v1::GroupMember& member) {
      return member.gpu_uuid() == gpu_uuid && !member.left();
    };
    if (!group.holds_memory()) continue;
    if (std::any_of(group.members().begin(), group.members().end(), on_it)) {
      names.push_back(absl::StrFormat("%s (generation %d)", group.name(), group.generation()));
    }
  }
  return names;
}

bool HoldsNothing(const std::vector<v1::PoolInfo>& pools, const std::string& gpu_uuid) {
  return std::none_of(pools.begin(), pools.end(), [&](const v1::PoolInfo& pool) {
    return pool.gpu_uuid() == gpu_uuid && (pool.planes_in_use() > 0 || pool.planes_ready() > 0);
  });
}

}  // namespace nodecomm
