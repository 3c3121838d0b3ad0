// How near the daemon is to the most that it may hold.
#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/open_files.h"
#include "client/cli/doctor_checks.h"
#include "client/cli/text_table.h"

namespace nodecomm {
namespace {

// From nine tenths on.
bool IsNearlyFull(int64_t used, int64_t max) { return max > 0 && used * 10 >= max * 9; }

template <typename Items>
std::map<uint32_t, int> CountByUser(const Items& items) {
  std::map<uint32_t, int> counts;
  for (const auto& item : items) ++counts[item.uid()];
  return counts;
}

void CheckSessions(const DaemonFacts& daemon, const v1::LimitConfig& limits, Report& report) {
  if (IsNearlyFull(daemon.status.sessions(), limits.sessions_max())) {
    report.Warn(absl::StrFormat("%s of at most %d", Counted(daemon.status.sessions(), "session"),
                                limits.sessions_max()),
                "raise limits.sessions_max; nodecommctl sessions shows whose they are");
  }
  for (const auto& [uid, count] : CountByUser(daemon.sessions.sessions())) {
    if (!IsNearlyFull(count, limits.sessions_per_uid_max())) continue;
    report.Warn(absl::StrFormat("user %d has %s of at most %d", uid, Counted(count, "session"),
                                limits.sessions_per_uid_max()),
                "raise limits.sessions_per_uid_max; nodecommctl sessions shows the processes");
  }
}

void CheckControlConnections(const DaemonFacts& daemon, const v1::LimitConfig& limits,
                             Report& report) {
  for (const v1::UserConnections& user : daemon.status.control_connections()) {
    if (!IsNearlyFull(user.connections(), limits.control_connections_per_uid_max())) continue;
    report.Warn(absl::StrFormat("user %d has %s to control.sock of at most %d", user.uid(),
                                Counted(user.connections(), "connection"),
                                limits.control_connections_per_uid_max()),
                "raise limits.control_connections_per_uid_max (restart), or end some of the user's "
                "processes: nodecommctl sessions shows them");
  }
}

// Who has most of a user's groups: a process that makes one after the other and ends none. Empty:
// each has one.
std::string MostGroups(const v1::ListGroupsResponse& groups, uint32_t uid) {
  std::map<int32_t, int> groups_of;
  for (const v1::GroupInfo& group : groups.groups()) {
    std::set<int32_t> pids;  // one may have several ranks
    for (const v1::GroupMember& member : group.members()) {
      if (group.uid() == uid && !member.left()) pids.insert(member.pid());
    }
    for (const int32_t pid : pids) ++groups_of[pid];
  }
  const auto most =
      std::max_element(groups_of.begin(), groups_of.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == groups_of.end() || most->second < 2) return "";
  return absl::StrFormat("; process %d is in %d groups", most->first, most->second);
}

void CheckGroups(const DaemonFacts& daemon, const v1::LimitConfig& limits, Report& report) {
  constexpr char kEnd[] = "nodecommctl groups shows them, nodecommctl abort ends one";
  if (IsNearlyFull(daemon.groups.groups_size(), limits.groups_max())) {
    report.Warn(absl::StrFormat("%s of at most %d", Counted(daemon.groups.groups_size(), "group"),
                                limits.groups_max()),
                absl::StrFormat("raise limits.groups_max; %s", kEnd));
  }
  for (const auto& [uid, count] : CountByUser(daemon.groups.groups())) {
    if (!IsNearlyFull(count, limits.groups_per_uid_max())) continue;
    report.Warn(absl::StrFormat("user %d has %s of at most %d%s", uid, Counted(count, "group"),
                                limits.groups_per_uid_max(), MostGroups(daemon.groups, uid)),
                absl::StrFormat("raise limits.groups_per_uid_max; %s", kEnd));
  }
}

// What each user's groups hold on each GPU, as the daemon counts it for the user's quota.
std::map<std::pair<uint32_t, std::string>, uint64_t> BytesByUser(
    const v1::ListGroupsResponse& groups) {
  std::map<std::pair<uint32_t, std::string>, uint64_t> bytes;
  for (const v1::GroupInfo& group : groups.groups()) {
    if (!group.holds_memory()) continue;
    for (const v1::GroupMember& member : group.members()) {
      bytes[{group.uid(), member.gpu_uuid()}] += group.plane_bytes() + group.shared_bytes();
    }
  }
  return bytes;
}

void CheckQuotas(const DaemonFacts& daemon, const v1::PoolConfig& pool, Report& report) {
  const uint64_t max = pool.bytes_per_gpu_per_uid_max();
  if (max == 0) return;
  for (const auto& [user_and_gpu, bytes] : BytesByUser(daemon.groups)) {
    const bool has_room = bytes + pool.plane_bytes() <= max;
    if (has_room && !IsNearlyFull(static_cast<int64_t>(bytes), static_cast<int64_t>(max))) continue;
    report.Warn(absl::StrFormat("groups of user %d hold %s of at most %s on GPU %s%s",
                                user_and_gpu.first, RenderBytes({bytes}), RenderBytes({max}),
                                RenderForeign(user_and_gpu.second),
                                MostGroups(daemon.groups, user_and_gpu.first)),
                "raise pool.bytes_per_gpu_per_uid_max and reload, or end some of its groups "
                "(nodecommctl groups)");
  }
}

void CheckFds(const DaemonFacts& daemon, const v1::LimitConfig& limits, Report& report) {
  const int fds_max = daemon.status.open_fds_max();
  if (fds_max == 0) return;  // a daemon of an earlier version
  if (IsNearlyFull(daemon.status.open_fds(), fds_max / 4 * 3)) {
    report.Warn(absl::StrFormat("the daemon has %d of at most %d files open, and refuses workers "
                                "when they hold three quarters",
                                daemon.status.open_fds(), fds_max),
                "raise LimitNOFILE; nodecommctl sessions and groups show what holds them");
  }
  const int64_t wanted = OpenFilesForSessions(limits.sessions_max());
  if (fds_max < wanted) {
    report.Warn(absl::StrFormat("the daemon may open %s, too few for %s", Counted(fds_max, "file"),
                                Counted(limits.sessions_max(), "session")),
                absl::StrFormat("set LimitNOFILE=%d", wanted));
  }
}

}  // namespace

void CheckLimits(const DaemonFacts& daemon, Report& report) {
  report.Start("limits");
  if (!daemon.asked.ok()) return report.Skip("the daemon could not be asked");
  if (!daemon.config.has_config()) {
    return report.Skip("the daemon is of an earlier version, which does not tell its limits");
  }
  const v1::LimitConfig& limits = daemon.config.config().limits();
  CheckSessions(daemon, limits, report);
  CheckControlConnections(daemon, limits, report);
  CheckGroups(daemon, limits, report);
  CheckQuotas(daemon, daemon.config.config().pool(), report);
  CheckFds(daemon, limits, report);
  if (report.silent()) {
    report.Ok(absl::StrFormat("%d of %s, %d of %s", daemon.status.sessions(),
                              Counted(limits.sessions_max(), "session"),
                              daemon.groups.groups_size(), Counted(limits.groups_max(), "group")));
  }
}

}  // namespace nodecomm
