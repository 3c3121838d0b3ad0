// Groups whose ranks do not go on: nobody else finds that odd before a call's or a join's deadline.
#include <string>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/doctor_checks.h"
#include "client/cli/text_table.h"

namespace nodecomm {
namespace {

// A rank that loads a model may take that long.
constexpr absl::Duration kFormingLong = absl::Minutes(2);

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

}  // namespace

void CheckRanks(const DaemonFacts& daemon, Report& report) {
  report.Start("groups");
  if (!daemon.asked.ok()) return report.Skip("the daemon could not be asked");
  for (const v1::GroupInfo& group : daemon.groups.groups()) {
    CheckMembers(group, report);
    CheckForming(group, report);
  }
  if (report.silent()) {
    report.Ok(absl::StrFormat("%s, no rank is stopped or waited for long",
                              Counted(daemon.groups.groups_size(), "group")));
  }
}

}  // namespace nodecomm
