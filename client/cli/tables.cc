// Message in, text out; see tables.h.
// Not a place for numbers that the daemon does not send.
// Design note: client/cli/README.md.
#include "client/cli/tables.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/text_table.h"

namespace nodecomm {
namespace {

std::string PlatformWord(v1::Platform platform) {
  switch (platform) {
    case v1::PLATFORM_CUDA:
      return "CUDA";
    case v1::PLATFORM_SIMULATED:
      return "simulated";
    default:
      return "unknown";
  }
}

std::string GroupStateWord(v1::GroupState state) {
  switch (state) {
    case v1::GROUP_STATE_GATHERING:
      return "gathering";
    case v1::GROUP_STATE_MAPPING:
      return "mapping";
    case v1::GROUP_STATE_READY:
      return "ready";
    case v1::GROUP_STATE_ABORTED:
      return "aborted";
    default:
      return "unknown";
  }
}

std::string GroupDetails(const v1::GroupInfo& group) {
  std::vector<TextRow> rows;
  for (const v1::GroupMember& member : group.members()) {
    rows.push_back({"", absl::StrCat("rank ", member.rank()), absl::StrCat("pid ", member.pid()),
                    member.gpu_uuid(), member.left() ? "left" : ""});
  }
  std::string text = RenderTable(rows);
  if (!group.missing_ranks().empty()) {
    absl::StrAppend(&text, "  waits for ranks ", absl::StrJoin(group.missing_ranks(), ", "), "\n");
  }
  if (!group.abort_reason().empty()) {
    absl::StrAppend(&text, "  aborted: ", RenderForeign(group.abort_reason()), "\n");
  }
  return text;
}

std::string PeerAccessSummary(const v1::GetStatusResponse& status) {
  if (status.driver_trusted()) return "driver trusted: it is not proven";
  return absl::StrFormat("%d pairs proven, %d failed, %d unproven", status.pairs_proven(),
                         status.pairs_failed(), status.pairs_unproven());
}

}  // namespace

std::string RenderStatus(const v1::GetStatusResponse& status) {
  return RenderTable({
      {"nodecommd", status.version_line()},
      {"pid", absl::StrCat(status.pid())},
      {"up", RenderDuration(absl::Milliseconds(status.uptime_ms()))},
      {"platform", PlatformWord(status.platform())},
      {"topology", status.topology_source()},
      {"GPUs", absl::StrCat(status.gpus())},
      {"sessions", absl::StrCat(status.sessions())},
      {"groups",
       absl::StrFormat("%d ready, %d forming", status.groups_ready(), status.groups_forming())},
      {"peer access", PeerAccessSummary(status)},
  });
}

std::string RenderGroups(const v1::ListGroupsResponse& groups) {
  if (groups.groups().empty()) return "No groups.\n";
  std::string text;
  for (const v1::GroupInfo& group : groups.groups()) {
    absl::StrAppend(
        &text,
        absl::StrFormat("%s  generation %d, uid %d, %s for %s, %d of %d ranks joined, planes of "
                        "%s, shared buffers %s a GPU\n",
                        RenderForeign(group.name()), group.generation(), group.uid(),
                        GroupStateWord(group.state()),
                        RenderDuration(absl::Milliseconds(group.state_ms())), group.members_size(),
                        group.world_size(), RenderBytes({group.plane_bytes()}),
                        RenderBytes({group.shared_bytes()})),
        GroupDetails(group));
  }
  return text;
}

std::string RenderPools(const v1::ListPoolsResponse& pools) {
  if (pools.pools().empty()) return "No pools.\n";
  std::vector<TextRow> rows = {
      {"GPU", "Plane", "Ready", "In use", "Bytes ready", "Bytes in use", "Limit"}};
  std::string errors;
  for (const v1::PoolInfo& pool : pools.pools()) {
    rows.push_back({pool.gpu_uuid(), RenderBytes({pool.plane_bytes()}),
                    absl::StrFormat("%d of %d", pool.planes_ready(), pool.planes_ready_target()),
                    absl::StrCat(pool.planes_in_use()), RenderBytes({pool.bytes_ready()}),
                    RenderBytes({pool.bytes_in_use()}), RenderBytes({pool.bytes_max()})});
    if (!pool.last_error().empty()) {
      absl::StrAppend(&errors, pool.gpu_uuid(), ": the last refill failed: ", pool.last_error(),
                      "\n");
    }
  }
  return absl::StrCat(RenderTable(rows), errors);
}

}  // namespace nodecomm
