// One group from its first join to its last member's end: a state machine without threads or
// waiting. Not the rendezvous table (group_registry.cc), nor the rules for joins (join_rules.h).
// Design note: daemon/group/README.md.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "daemon/group/after_unlock.h"
#include "daemon/group/group_memory.h"
#include "daemon/group/group_news.h"
#include "daemon/group/group_registry.h"
#include "daemon/group/join_rules.h"
#include "daemon/group/shared_buffers.h"

namespace nodecomm {

// Which joins meet. Two groups of one key may exist, if only one is gathering.
struct GroupKey {
  uid_t uid = 0;
  std::string name;
  std::string key;
  auto operator<=>(const GroupKey&) const = default;
};

// One thread at a time: the registry's lock guards it. Callbacks and released memory go to `after`.
class Group {
 public:
  enum class State {
    kGathering,   // ranks are missing
    kAllocating,  // all have joined; memory is being made, without the lock, or will be
    kMapping,     // the members have their memory, not all have confirmed
    kReady,
    kAborted,  // over; members hold memory until they leave or end
  };

  struct Join {
    Caller caller;
    v1::JoinGroupRequest request;
    absl::Duration timeout;
    SteadyTime deadline;
    GroupRegistry::JoinDone done;
  };

  // `observer` is told through `after`, and outlives what is in there.
  Group(uint64_t generation, GroupKey key, WorldSize world_size,
        const GroupRegistry::Observer* observer);

  uint64_t generation() const { return generation_; }
  const GroupKey& key() const { return key_; }
  State state() const { return state_; }
  // No member holds or waits for anything any more: to be destroyed, without the lock.
  bool over() const;

  // --- gathering

  // InvalidArgument: the rank is taken. Concerns the newcomer alone.
  absl::Status CheckRankFree(const v1::JoinGroupRequest& newcomer) const;
  // FailedPrecondition: the newcomer disagrees with a member, so the group cannot come to be.
  absl::Status CheckAgrees(const v1::JoinGroupRequest& newcomer, GpuSharing sharing) const;
  // True: all ranks have joined, and the group is allocating.
  bool Add(Join join);

  // --- allocating

  // The memory is being made from now on, and the joins' deadlines hold no longer.
  void BeginAllocating() { allocates_ = true; }
  std::vector<std::string> GpuUuids() const;  // in rank order
  std::vector<SessionId> Sessions() const;    // in rank order
  ByteCount plane_bytes() const;
  // How long the least patient rank would have waited for the others to join.
  absl::Duration ShortestTimeout() const;
  // What the group holds on the GPU: planes and shared buffers.
  ByteCount BytesOn(std::string_view gpu_uuid) const;
  // The daemon's descriptors that it takes.
  size_t OpenFds() const;
  // All but the transfer and the fast path.
  v1::JoinGroupResponse JoinResponse() const;
  // Returns the callbacks of the joins, in rank order, for the caller to answer.
  std::vector<GroupRegistry::JoinDone> StartMapping(GroupMemory memory, v1::FastPath fast_path,
                                                    absl::Duration timeout);

  // Answers all who wait to join; the group is over.
  void FailJoins(GroupEnd end, const absl::Status& status, AfterUnlock& after);

  // --- for a daemon that comes back

  // What must be known of the group then, besides its control page.
  v1::GroupRecord Record() const;
  // The group of `record`, whose memory is `memory`, as the page says that it stands; the files are
  // the group's from then on. One that was
  // not ready is aborted: its members' calls died with the daemon.
  static absl::StatusOr<std::unique_ptr<Group>> Restore(const v1::GroupRecord& record,
                                                        GroupMemory memory,
                                                        const GroupRegistry::Observer* observer,
                                                        AfterUnlock& after);
  // Keeps the record up to date. Best effort: without space on the disk, a daemon that comes back
  // knows the group as it was.
  void SaveRecord() const;
  // Of one that was restored.
  bool page_lost() const { return page_lost_; }
  const std::string& files_problem() const { return files_problem_; }
  // What is on the disk stays when this object goes.
  void KeepFiles() const;
  // Makes its files again where somebody has removed them, and ends a group whose page was cut.
  // What has become of the files since the last time, for people; empty: nothing.
  std::string LookAfterFiles(AfterUnlock& after);

  // --- once the members have their memory

  bool IsHeldBy(SessionId session, Rank rank) const;
  void Confirm(Rank rank, GroupRegistry::ConfirmDone done, AfterUnlock& after);
  absl::Status Leave(Rank rank, uint32_t last_epoch, AfterUnlock& after);
  // `reason` as the member or its session gives it.
  void AbortBy(Rank rank, GroupEnd end, std::string_view reason, AfterUnlock& after);
  // Fails unless the group is ready and complete.
  absl::Status CheckMayShare() const;
  SharedBuffers& shared() { return shared_; }
  // Those that have left, or whose sessions have ended.
  std::vector<Rank> GoneRanks() const;

  // --- in any state

  // The session's join of this attempt has no answer that reached it.
  void GiveUpJoin(SessionId session, uint64_t attempt, std::string_view cause, AfterUnlock& after);
  void SessionDied(SessionId session, std::string_view cause, AfterUnlock& after);
  void SessionEnded(SessionId session, std::string_view cause, AfterUnlock& after);
  // If a member is on the GPU. One that holds no memory there is left alone.
  void AbortOnGpu(std::string_view gpu_uuid, GroupEnd end, std::string_view reason,
                  AfterUnlock& after);
  // By nobody among its members.
  void AbortFromOutside(GroupEnd end, std::string_view reason, AfterUnlock& after);
  // If its members still wait to join.
  void StopForming(GroupEnd end, const absl::Status& status, AfterUnlock& after);
  SteadyTime NextDeadline() const;
  void Expire(SteadyTime now, AfterUnlock& after);
  // Answers everybody who waits; nothing else changes.
  void FailAllWaiting(const absl::Status& status, AfterUnlock& after);
  // The last member of a group that was not aborted has left.
  void TellLeft(AfterUnlock& after) const;
  v1::GroupInfo Info(SteadyTime now) const;

 private:
  struct Member {
    Caller caller;
    v1::JoinGroupRequest request;
    absl::Duration timeout;
    SteadyTime deadline;
    GroupRegistry::JoinDone join_done;  // null: answered
    GroupRegistry::ConfirmDone confirm_done;
    bool confirmed = false;
    bool gone = false;  // has left, or its session has ended
  };

  Member& member(Rank rank) { return *members_[static_cast<size_t>(rank.value)]; }
  std::vector<Rank> MissingRanks() const;
  std::vector<Rank> UnconfirmedRanks() const;
  std::vector<Rank> RanksHeldBy(SessionId session) const;
  absl::Status AbortedStatus() const;
  void EnterState(State state);
  void Abort(const Culprit& culprit, GroupEnd end, std::string_view reason, AfterUnlock& after);
  void Tell(GroupNews news, AfterUnlock& after) const;
  void TellEnded(GroupEnd end, std::string_view reason, AfterUnlock& after) const;
  void Release(Rank rank, AfterUnlock& after);
  // What is wrong where page_lost_.
  std::string PageLost() const;
  void AnswerConfirms(const absl::Status& status, AfterUnlock& after);
  SteadyTime FirstJoinDeadline() const;
  void ExpireJoins(SteadyTime now, AfterUnlock& after);
  void ExpireMapping(AfterUnlock& after);
  // Those of the members that wait to join.
  void WithdrawJoins(const std::function<bool(const Member&)>& which, GroupEnd end,
                     std::string_view cause, AfterUnlock& after);

  const uint64_t generation_;
  const GroupKey key_;
  const std::string label_;
  const GroupRegistry::Observer* const observer_;
  const SteadyTime created_ = SteadyNow();
  State state_ = State::kGathering;
  SteadyTime state_since_;
  bool allocates_ = false;
  std::vector<std::optional<Member>> members_;  // by rank
  GroupMemory memory_;
  std::optional<v1::FastPath> fast_path_;  // not decided while ranks are missing
  absl::Duration mapping_timeout_;
  SteadyTime mapping_deadline_;
  std::string abort_reason_;
  std::string files_problem_;  // what a daemon that comes back will lack, or does
  bool page_lost_ = false;     // nobody reads what is written to memory_.page
  SharedBuffers shared_;
};

}  // namespace nodecomm
