// Groups whose ranks do not go on: nobody else finds that odd before a call's or a join's deadline.
#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/doctor_checks.h"
#include "client/cli/text_table.h"
#include "proto/control_page.h"

namespace nodecomm {
namespace {

// Ranks that are started together are seconds apart. Far less than a join waits by default
// (group.rendezvous_timeout_ms, 60 s): a group whose wait has ended is not there to be warned of.
constexpr absl::Duration kFormingLong = absl::Seconds(15);

bool IsStopped(const v1::GroupMember& member) {
  return member.process_state() == v1::PROCESS_STATE_STOPPED ||
         member.process_state() == v1::PROCESS_STATE_TRACED;
}

void CheckMembers(const v1::GroupInfo& group, Report& report) {
  for (const v1::GroupMember& member : group.members()) {
    if (!IsStopped(member)) continue;
    report.Warn(
        absl::StrFormat("rank %d of %s (generation %d, process %d) is stopped; %s", member.rank(),
                        RenderForeign(group.name()), group.generation(), member.pid(),
                        group.state() == v1::GROUP_STATE_ABORTED
                            ? "the group has ended, and its memory is held"
                            : "the others wait for it until their calls' deadline"),
        absl::StrFormat("let it go on (kill -CONT %d), or end it or its debugger", member.pid()));
  }
}

void CheckForming(const v1::GroupInfo& group, Report& report) {
  const absl::Duration age = absl::Milliseconds(group.state_ms());
  if (group.state() != v1::GROUP_STATE_GATHERING || age < kFormingLong) return;
  report.Warn(absl::StrFormat("%s has waited %s for rank%s %s", RenderForeign(group.name()),
                              RenderDuration(age), group.missing_ranks_size() == 1 ? "" : "s",
                              absl::StrJoin(group.missing_ranks(), ", ")),
              "look at the logs of those ranks; they must join under the same name, key and user");
}

void CheckFiles(const v1::GroupInfo& group, Report& report) {
  if (group.files_problem().empty()) return;
  report.Warn(absl::StrFormat("%s (generation %d): %s", RenderForeign(group.name()),
                              group.generation(), RenderForeign(group.files_problem())),
              "find out who removed it; restart that group's workers before the daemon");
}

// Of groups that are there. One that is being made has its page for a moment before its size.
void CheckPages(const HostFacts& host, const v1::ListGroupsResponse& groups, Report& report) {
  for (const PageFile& page : host.cut_pages) {
    for (const v1::GroupInfo& group : groups.groups()) {
      if (group.generation() != page.generation || group.state() == v1::GROUP_STATE_GATHERING) {
        continue;
      }
      report.Problem(
          absl::StrFormat("%s (generation %d): its control page %s has %d bytes instead of %d: %s",
                          RenderForeign(group.name()), group.generation(), page.path, page.bytes,
                          kControlPageBytes,
                          page.bytes == 0 ? "workers that read it die (SIGBUS)"
                                          : "a restarted daemon would end the group"),
          absl::StrFormat(
              "somebody wrote to it: find out who; end the group, unless the daemon has done so by "
              "now (nodecommctl abort %d), and its workers form it anew",
              group.generation()));
    }
  }
}

// Ranks under two users gather in two groups of one name, and each waits for its own. `groups`
// shows them side by side, as if all were well.
void CheckNames(const v1::ListGroupsResponse& groups, Report& report) {
  struct Users {
    std::set<uint32_t> uids;
    bool waits = false;  // ranks of one of them are missing
  };
  std::map<std::string, Users> by_name;
  for (const v1::GroupInfo& group : groups.groups()) {
    if (group.state() == v1::GROUP_STATE_ABORTED) continue;
    Users& users = by_name[group.name()];
    users.uids.insert(group.uid());
    users.waits |= group.state() == v1::GROUP_STATE_GATHERING;
  }
  for (const auto& [name, users] : by_name) {
    if (users.uids.size() < 2 || !users.waits) continue;
    report.Warn(absl::StrFormat("users %s each have a group %s: these are different groups, and "
                                "each waits for ranks of its own user",
                                absl::StrJoin(users.uids, " and "), RenderForeign(name)),
                "if they are meant as one, start all ranks as one user");
  }
}

// Whether a rank that `group` waits for has joined `other`.
bool WaitsForRankOf(const v1::GroupInfo& group, const v1::GroupInfo& other) {
  return std::any_of(other.members().begin(), other.members().end(),
                     [&](const v1::GroupMember& member) {
                       return std::find(group.missing_ranks().begin(), group.missing_ranks().end(),
                                        member.rank()) != group.missing_ranks().end();
                     });
}

// Ranks of one user that name different keys do likewise: of one name, user and key, only one group
// gathers at a time.
void CheckKeys(const v1::ListGroupsResponse& groups, Report& report) {
  std::set<std::pair<std::string, uint32_t>> told;
  const auto gathers = [](const v1::GroupInfo& group) {
    return group.state() == v1::GROUP_STATE_GATHERING;
  };
  for (const v1::GroupInfo& group : groups.groups()) {
    for (const v1::GroupInfo& other : groups.groups()) {
      if (&group == &other || group.name() != other.name() || group.uid() != other.uid()) continue;
      if (!gathers(group) || !gathers(other)) continue;
      if (!WaitsForRankOf(group, other) || !WaitsForRankOf(other, group)) continue;
      if (!told.insert({group.name(), group.uid()}).second) continue;
      report.Warn(
          absl::StrFormat("user %d has two groups %s that gather, with different keys: each "
                          "waits for ranks that have joined the other",
                          group.uid(), RenderForeign(group.name())),
          "if they are meant as one, give all ranks the same key");
    }
  }
}

}  // namespace

void CheckRanks(const HostFacts& host, const DaemonFacts& daemon, Report& report) {
  report.Start("groups");
  if (!daemon.asked.ok()) return report.Skip("the daemon could not be asked");
  for (const v1::GroupInfo& group : daemon.groups.groups()) {
    CheckMembers(group, report);
    CheckForming(group, report);
    CheckFiles(group, report);
  }
  CheckPages(host, daemon.groups, report);
  CheckNames(daemon.groups, report);
  CheckKeys(daemon.groups, report);
  if (report.silent()) {
    report.Ok(absl::StrFormat("%s, no rank is stopped or waited for long",
                              Counted(daemon.groups.groups_size(), "group")));
  }
}

}  // namespace nodecomm
