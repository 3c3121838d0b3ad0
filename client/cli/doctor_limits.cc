// How near the daemon is to the most that it may hold.
#include <cstdint>
#include <map>
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

void CheckGroups(const DaemonFacts& daemon, const v1::LimitConfig& limits, Report& report) {
  constexpr char kEnd[] = "nodecommctl groups shows them, nodecommctl abort ends one";
  if (IsNearlyFull(daemon.groups.groups_size(), limits.groups_max())) {
    report.Warn(absl::StrFormat("%s of at most %d", Counted(daemon.groups.groups_size(), "group"),
                                limits.groups_max()),
                absl::StrFormat("raise limits.groups_max; %s", kEnd));
  }
  for (const auto& [uid, count] : CountByUser(daemon.groups.groups())) {
    if (!IsNearlyFull(count, limits.groups_per_uid_max())) continue;
    report.Warn(absl::StrFormat("user %d has %s of at most %d", uid, Counted(count, "group"),
                                limits.groups_per_uid_max()),
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
    report.Warn(absl::StrFormat("groups of user %d hold %s of at most %s on GPU %s",
                                user_and_gpu.first, RenderBytes({bytes}), RenderBytes({max}),
                                RenderForeign(user_and_gpu.second)),
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
