// What the daemon does and holds, as people read it: status, groups, pools, sessions.
// Not the topology (topology_text.h), not the JSON form (json.h).
// Design note: client/cli/README.md.
#pragma once

#include <string>

#include "nodecomm/v1/admin.pb.h"
#include "nodecomm/v1/report.pb.h"

namespace nodecomm {

std::string RenderStatus(const v1::GetStatusResponse& status);
std::string RenderGroups(const v1::ListGroupsResponse& groups);
std::string RenderPools(const v1::ListPoolsResponse& pools);
std::string RenderSessions(const v1::ListSessionsResponse& sessions);
// A file that `nodecommd --config` takes.
std::string RenderConfig(const v1::GetConfigResponse& config);
std::string RenderVersion(const v1::VersionReport& report);
// All of it at once, for a screen; lines are not cut.
std::string RenderTop(const v1::TopView& view);
// At most so many lines; the last says how many more there are. Fewer than 2: all.
std::string CutToHeight(const std::string& text, int lines_max);

}  // namespace nodecomm
