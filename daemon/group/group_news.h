// What becomes of groups, for those who count and log it. Not for members: they have their answers
// and the control page. Design note: daemon/group/README.md.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace nodecomm {

enum class GroupPhase {
  kForming,  // until every rank has joined and memory was made
  kMapping,  // until every rank has mapped it
  kReady,
};

// Why a group is over.
enum class GroupEnd {
  kLeft,           // every rank has left, as it should be
  kDisagreement,   // a rank joined with other parameters
  kDeadline,       // ranks did not come, or did not map the memory, in time
  kNoMemory,       // planes, control page or record could not be made
  kMemberEnded,    // a member's session has ended: its process died, mostly
  kMemberLeft,     // before the group was ready
  kMemberAborted,  // a member's own call, also for a call that timed out
  kGpuLost,
  kDrained,
  kAdministrator,
  kDaemonStopping,
  kDaemonRestarted,  // before it was ready
  kPageCut,          // somebody made its control page shorter
};
inline constexpr std::array kGroupEnds = {
    GroupEnd::kLeft,          GroupEnd::kDisagreement,   GroupEnd::kDeadline,
    GroupEnd::kNoMemory,      GroupEnd::kMemberEnded,    GroupEnd::kMemberLeft,
    GroupEnd::kMemberAborted, GroupEnd::kGpuLost,        GroupEnd::kDrained,
    GroupEnd::kAdministrator, GroupEnd::kDaemonStopping, GroupEnd::kDaemonRestarted,
    GroupEnd::kPageCut};

constexpr std::string_view Word(GroupPhase phase) {
  switch (phase) {
    case GroupPhase::kForming:
      return "forming";
    case GroupPhase::kMapping:
      return "mapping";
    case GroupPhase::kReady:
      return "ready";
  }
  return "unknown";
}

constexpr std::string_view Word(GroupEnd end) {
  switch (end) {
    case GroupEnd::kLeft:
      return "left";
    case GroupEnd::kDisagreement:
      return "disagreement";
    case GroupEnd::kDeadline:
      return "deadline";
    case GroupEnd::kNoMemory:
      return "no_memory";
    case GroupEnd::kMemberEnded:
      return "member_ended";
    case GroupEnd::kMemberLeft:
      return "member_left";
    case GroupEnd::kMemberAborted:
      return "member_aborted";
    case GroupEnd::kGpuLost:
      return "gpu_lost";
    case GroupEnd::kDrained:
      return "drained";
    case GroupEnd::kAdministrator:
      return "administrator";
    case GroupEnd::kDaemonStopping:
      return "daemon_stopping";
    case GroupEnd::kDaemonRestarted:
      return "daemon_restarted";
    case GroupEnd::kPageCut:
      return "page_cut";
  }
  return "unknown";
}

struct GroupNews {
  enum class What { kReady, kEnded };
  What what = What::kReady;
  uint64_t generation = 0;
  std::string name;
  uid_t uid = 0;
  int world_size = 0;
  // Since the first rank joined.
  absl::Duration age;
  // Of kEnded. A group that was aborted ends for its members at once; what they hold is kept until
  // they let go.
  GroupPhase phase = GroupPhase::kForming;
  GroupEnd end = GroupEnd::kLeft;
  std::string reason = {};  // for people; empty for kLeft
};

// A file of a group that nobody can go on with, or that somebody has removed.
struct GroupDamage {
  uint64_t generation = 0;  // 0: not known
  std::string name = {};    // empty: not known
  std::optional<uid_t> uid = {};
  std::string what = {};  // for people: which file, what is wrong with it, and what follows
};

}  // namespace nodecomm
