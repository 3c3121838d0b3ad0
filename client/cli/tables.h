// What the daemon does and holds, as people read it: status, groups, pools.
// Not the topology (topology_text.h), not the JSON form (json.h).
// Design note: client/cli/README.md.
#pragma once

#include <string>

#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

std::string RenderStatus(const v1::GetStatusResponse& status);
std::string RenderGroups(const v1::ListGroupsResponse& groups);
std::string RenderPools(const v1::ListPoolsResponse& pools);

}  // namespace nodecomm
