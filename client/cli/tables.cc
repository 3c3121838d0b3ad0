// Message in, text out; see tables.h.
// Not a place for numbers that the daemon does not send.
// Design note: client/cli/README.md.
#include "client/cli/tables.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "client/cli/text_table.h"
#include "client/cli/topology_words.h"

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

// Nothing for one that goes on as it should.
std::string ProcessStateWord(v1::ProcessState state) {
  switch (state) {
    case v1::PROCESS_STATE_STOPPED:
      return "stopped";
    case v1::PROCESS_STATE_TRACED:
      return "stopped by a debugger";
    case v1::PROCESS_STATE_UNINTERRUPTIBLE:
      return "waits in the kernel";
    case v1::PROCESS_STATE_ENDED:
      return "has ended";
    default:
      return "";
  }
}

// A worker may hold many groups; --json has all.
std::string GenerationList(const google::protobuf::RepeatedField<uint64_t>& generations) {
  constexpr int kShownMax = 4;
  const int shown = std::min(generations.size(), kShownMax);
  std::string text = absl::StrJoin(generations.begin(), generations.begin() + shown, ", ");
  if (shown < generations.size()) {
    absl::StrAppend(&text, " and ", generations.size() - shown, " more");
  }
  return text;
}

std::string GroupDetails(const v1::GroupInfo& group) {
  std::vector<TextRow> rows;
  for (const v1::GroupMember& member : group.members()) {
    rows.push_back({"", absl::StrCat("rank ", member.rank()), absl::StrCat("pid ", member.pid()),
                    member.gpu_uuid(),
                    member.left() ? "left" : ProcessStateWord(member.process_state())});
  }
  std::string text = RenderTable(rows);
  if (!group.missing_ranks().empty()) {
    absl::StrAppend(&text, "  waits for rank", group.missing_ranks_size() == 1 ? " " : "s ",
                    absl::StrJoin(group.missing_ranks(), ", "), "\n");
  }
  if (group.has_fast_path() && !group.fast_path().supported()) {
    absl::StrAppend(&text, "  ", RenderForeign(group.fast_path().detail()), "\n");
  }
  if (!group.abort_reason().empty()) {
    absl::StrAppend(&text, "  aborted: ", RenderForeign(group.abort_reason()), "\n");
  }
  return text;
}

// What follows the number of GPUs. Of an earlier daemon nothing: it does not tell.
std::string GpuTroubles(const v1::GetStatusResponse& status) {
  std::string text;
  int drained = 0;
  int gone = 0;
  for (const v1::GpuDrain& drain : status.drains()) {
    drained += drain.state() == v1::DRAIN_STATE_DRAINED ? 1 : 0;
    gone += drain.state() == v1::DRAIN_STATE_GONE ? 1 : 0;
  }
  const int draining = status.gpus_draining() - drained;
  if (draining > 0) absl::StrAppend(&text, ", ", draining, " draining");
  if (drained > 0) absl::StrAppend(&text, ", ", drained, " drained");
  if (gone > 0) absl::StrAppend(&text, ", ", gone, " drained and gone");
  if (status.gpus_lost() > 0) absl::StrAppend(&text, ", ", status.gpus_lost(), " lost");
  return text;
}

std::string PeerAccessSummary(const v1::GetStatusResponse& status) {
  if (status.driver_trusted()) return "driver trusted: it is not proven";
  return absl::StrFormat("%s proven, %d failed, %d unproven",
                         Counted(status.pairs_proven(), "pair"), status.pairs_failed(),
                         status.pairs_unproven());
}

void AddLinkTroubles(const v1::GetStatusResponse& status, std::vector<TextRow>& rows) {
  if (!status.access_lost().empty()) {
    rows.push_back({"links", absl::StrCat(Counted(status.access_lost_size(), "pair"),
                                          " without peer access any more: nodecommctl doctor")});
  }
  for (const v1::NvlinkErrors& counted : status.nvlink_errors()) {
    rows.push_back(
        {"NVLinks", absl::StrFormat("%s on %s since the daemon's start",
                                    Counted(static_cast<int64_t>(counted.errors()), "error"),
                                    counted.gpu_uuid())});
  }
}

}  // namespace

std::string RenderStatus(const v1::GetStatusResponse& status) {
  std::vector<TextRow> rows = {
      {"nodecommd", status.version_line()},
      {"pid", absl::StrCat(status.pid())},
      {"up", RenderDuration(absl::Milliseconds(status.uptime_ms()))},
      {"platform", PlatformWord(status.platform())},
      {"topology", status.topology_source()},
      {"GPUs", absl::StrCat(status.gpus(), GpuTroubles(status))},
      {"sessions", absl::StrCat(status.sessions())},
      {"groups",
       absl::StrFormat("%d ready, %d forming", status.groups_ready(), status.groups_forming())},
      {"peer access", PeerAccessSummary(status)},
  };
  for (const v1::GpuDrain& drain : status.drains()) {
    if (drain.state() == v1::DRAIN_STATE_GONE) rows.push_back({"", GoneGpu(drain.gpu_uuid())});
  }
  AddLinkTroubles(status, rows);
  if (!status.not_ready().empty()) rows.push_back({"not ready", RenderForeign(status.not_ready())});
  if (!status.reload_problem().empty()) {
    rows.push_back(
        {"last reload", absl::StrCat("failed: ", RenderForeign(status.reload_problem()))});
  }
  if (!status.gpu_errors_problem().empty()) {
    rows.push_back({"GPU errors", RenderForeign(status.gpu_errors_problem())});
  }
  if (!status.metrics_problem().empty()) {
    rows.push_back({"metrics", RenderForeign(status.metrics_problem())});
  }
  if (!status.log_problem().empty()) rows.push_back({"log", RenderForeign(status.log_problem())});
  return RenderTable(rows);
}

std::string RenderGroups(const v1::ListGroupsResponse& groups) {
  if (groups.groups().empty()) return "No groups.\n";
  std::string text;
  for (const v1::GroupInfo& group : groups.groups()) {
    absl::StrAppend(
        &text,
        absl::StrFormat("%s  generation %d, uid %d, %s for %s, %d of %s joined, planes of "
                        "%s, shared buffers %s a GPU\n",
                        RenderForeign(group.name()), group.generation(), group.uid(),
                        GroupStateWord(group.state()),
                        RenderDuration(absl::Milliseconds(group.state_ms())), group.members_size(),
                        Counted(group.world_size(), "rank"), RenderBytes({group.plane_bytes()}),
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
      absl::StrAppend(&errors, pool.gpu_uuid(),
                      ": the last refill failed: ", RenderForeign(pool.last_error()), "\n");
    }
  }
  return absl::StrCat(RenderTable(rows), errors);
}

std::string RenderSessions(const v1::ListSessionsResponse& sessions) {
  if (sessions.sessions().empty()) return "No sessions.\n";
  std::vector<TextRow> rows = {{"Session", "User", "Process", "Open for", "Groups", "State"}};
  for (const v1::SessionInfo& session : sessions.sessions()) {
    rows.push_back({session.session(), absl::StrCat(session.uid()), absl::StrCat(session.pid()),
                    RenderDuration(absl::Milliseconds(session.age_ms())),
                    GenerationList(session.generations()),
                    ProcessStateWord(session.process_state())});
  }
  return RenderTable(rows);
}

std::string RenderConfig(const v1::GetConfigResponse& config) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(config.config(), &text);
  const std::string source =
      config.config_path().empty()
          ? "no file, the defaults and the command line"
          : absl::StrCat(RenderForeign(config.config_path()), ", defaults and the command line");
  std::string waiting;
  for (const v1::WaitingSetting& setting : config.waiting()) {
    absl::StrAppend(&waiting, "# Waits for a restart: ", setting.field(), ", ",
                    setting.in_file().empty() ? "not set" : RenderForeign(setting.in_file()),
                    " in the file.\n");
  }
  return absl::StrCat("# In force: from ", source, ".\n", waiting, text);
}

std::string RenderVersion(const v1::VersionReport& report) {
  return RenderTable({{"nodecommctl", report.version_line()},
                      {"nodecommd", report.has_daemon_version_line()
                                        ? report.daemon_version_line()
                                        : absl::StrCat("unknown: ", report.daemon_error())}});
}

namespace {

// Empty: none is. Which ranks they are is in `groups`.
std::string StoppedRanks(const v1::GroupInfo& group) {
  const auto stopped =
      std::count_if(group.members().begin(), group.members().end(), [](const auto& member) {
        return member.process_state() == v1::PROCESS_STATE_STOPPED ||
               member.process_state() == v1::PROCESS_STATE_TRACED;
      });
  return stopped == 0 ? "" : absl::StrFormat(", %d stopped", stopped);
}

}  // namespace

std::string CutToHeight(const std::string& text, int lines_max) {
  const auto lines = std::count(text.begin(), text.end(), '\n');
  if (lines_max < 2 || lines <= lines_max) return text;
  size_t end = 0;
  for (int line = 1; line < lines_max; ++line) end = text.find('\n', end) + 1;
  return absl::StrFormat("%s(%d more lines)\n", text.substr(0, end), lines - lines_max + 1);
}

std::string RenderTop(const v1::TopView& view) {
  const absl::Time time = absl::FromUnixMillis(view.unix_time_ms());
  const v1::GetStatusResponse& status = view.status();
  std::string text = absl::StrFormat(
      "nodecommd, up %s   %s\n%s%s   %s   %s ready, %d forming   %s\n\n",
      RenderDuration(absl::Milliseconds(status.uptime_ms())),
      absl::FormatTime("%Y-%m-%d %H:%M:%S", time, absl::LocalTimeZone()),
      Counted(status.gpus(), "GPU"), GpuTroubles(status), Counted(status.sessions(), "session"),
      Counted(status.groups_ready(), "group"), status.groups_forming(), PeerAccessSummary(status));
  if (!status.not_ready().empty()) {
    text.insert(text.size() - 1,
                absl::StrCat("not ready: ", RenderForeign(status.not_ready()), "\n"));
  }
  std::vector<TextRow> groups = {{"Group", "User", "State", "For", "Ranks", "Waits for", "Shared"}};
  for (const v1::GroupInfo& group : view.groups()) {
    groups.push_back({RenderForeign(group.name()), absl::StrCat(group.uid()),
                      absl::StrCat(GroupStateWord(group.state()), StoppedRanks(group)),
                      RenderDuration(absl::Milliseconds(group.state_ms())),
                      absl::StrFormat("%d of %d", group.members_size(), group.world_size()),
                      absl::StrJoin(group.missing_ranks(), ","),
                      RenderBytes({group.shared_bytes()})});
  }
  absl::StrAppend(&text, groups.size() == 1 ? "No groups.\n" : RenderTable(groups), "\n");
  v1::ListPoolsResponse pools;
  *pools.mutable_pools() = view.pools();
  return absl::StrCat(text, RenderPools(pools));
}

}  // namespace nodecomm
