#include "daemon/group/group.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/base/status_macros.h"
#include "daemon/group/text.h"
#include "proto/control_page.h"

namespace nodecomm {
namespace {

v1::GroupState ToProto(Group::State state) {
  switch (state) {
    case Group::State::kGathering:
      return v1::GROUP_STATE_GATHERING;
    case Group::State::kAllocating:
    case Group::State::kMapping:
      return v1::GROUP_STATE_MAPPING;
    case Group::State::kReady:
      return v1::GROUP_STATE_READY;
    case Group::State::kAborted:
      return v1::GROUP_STATE_ABORTED;
  }
  return v1::GROUP_STATE_UNSPECIFIED;
}

v1::Member ToProto(const v1::JoinGroupRequest& request, pid_t pid) {
  v1::Member member;
  member.set_rank(request.rank());
  member.set_gpu_uuid(request.gpu_uuid());
  member.set_pid(pid);
  member.set_multiprocessors(request.multiprocessors());
  member.set_compute_capability_major(request.compute_capability_major());
  member.set_compute_capability_minor(request.compute_capability_minor());
  return member;
}

GroupPhase PhaseOf(Group::State state) {
  switch (state) {
    case Group::State::kGathering:
    case Group::State::kAllocating:
      return GroupPhase::kForming;
    case Group::State::kMapping:
      return GroupPhase::kMapping;
    case Group::State::kReady:
    case Group::State::kAborted:
      break;
  }
  return GroupPhase::kReady;
}

}  // namespace

Group::Group(uint64_t generation, GroupKey key, WorldSize world_size,
             const GroupRegistry::Observer* observer)
    : generation_(generation),
      key_(std::move(key)),
      label_(GroupLabel(key_.name)),
      observer_(observer),
      state_since_(SteadyNow()),
      members_(static_cast<size_t>(world_size.value)),
      shared_(label_, world_size) {}

bool Group::over() const {
  return std::all_of(members_.begin(), members_.end(),
                     [](const auto& member) { return !member.has_value() || member->gone; });
}

void Group::EnterState(State state) {
  state_ = state;
  state_since_ = SteadyNow();
}

// --- telling the observer

void Group::Tell(GroupNews news, AfterUnlock& after) const {
  if (!*observer_) return;
  news.generation = generation_;
  news.name = key_.name;
  news.uid = key_.uid;
  news.world_size = static_cast<int>(members_.size());
  news.age = SteadyNow() - created_;
  after.Call([observer = observer_, news = std::move(news)] { (*observer)(news); });
}

void Group::TellEnded(GroupEnd end, std::string_view reason, AfterUnlock& after) const {
  Tell({.what = GroupNews::What::kEnded,
        .phase = PhaseOf(state_),
        .end = end,
        .reason = std::string(reason)},
       after);
}

void Group::TellLeft(AfterUnlock& after) const {
  if (state_ == State::kReady) TellEnded(GroupEnd::kLeft, "", after);
}

// --- gathering

absl::Status Group::CheckRankFree(const v1::JoinGroupRequest& newcomer) const {
  const auto index = static_cast<size_t>(newcomer.rank());
  if (index >= members_.size() || !members_[index].has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("rank %d of %s is taken by process %d; give each process its own rank, or "
                      "the groups different names or keys",
                      newcomer.rank(), label_, members_[index]->caller.pid));
}

absl::Status Group::CheckAgrees(const v1::JoinGroupRequest& newcomer, GpuSharing sharing) const {
  for (const auto& member : members_) {
    if (!member.has_value()) continue;
    absl::Status status = CheckAgreement(member->request, newcomer, sharing);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

bool Group::Add(Join join) {
  const auto index = static_cast<size_t>(join.request.rank());
  members_[index] = Member{.caller = join.caller,
                           .request = std::move(join.request),
                           .timeout = join.timeout,
                           .deadline = join.deadline,
                           .join_done = std::move(join.done),
                           .confirm_done = nullptr};
  if (!MissingRanks().empty()) return false;
  EnterState(State::kAllocating);
  return true;
}

std::vector<Rank> Group::MissingRanks() const {
  std::vector<Rank> missing;
  for (size_t i = 0; i < members_.size(); ++i) {
    if (!members_[i].has_value()) missing.push_back(Rank{static_cast<int>(i)});
  }
  return missing;
}

void Group::FailJoins(GroupEnd end, const absl::Status& status, AfterUnlock& after) {
  TellEnded(end, std::string(status.message()), after);
  for (auto& member : members_) {
    if (!member.has_value()) continue;
    after.Call([done = std::move(member->join_done), status]() mutable { done(status); });
    member.reset();
  }
}

// --- allocating

std::vector<std::string> Group::GpuUuids() const {
  std::vector<std::string> uuids;
  for (const auto& member : members_) uuids.push_back(member->request.gpu_uuid());
  return uuids;
}

std::vector<SessionId> Group::Sessions() const {
  std::vector<SessionId> sessions;
  for (const auto& member : members_) sessions.push_back(member->caller.session);
  return sessions;
}

ByteCount Group::plane_bytes() const {
  for (const auto& member : members_) {
    if (member.has_value()) return ByteCount{static_cast<size_t>(member->request.plane_bytes())};
  }
  return ByteCount{0};
}

absl::Duration Group::ShortestTimeout() const {
  absl::Duration shortest = absl::InfiniteDuration();
  for (const auto& member : members_) {
    if (member.has_value()) shortest = std::min(shortest, member->timeout);
  }
  return shortest;
}

ByteCount Group::BytesOn(std::string_view gpu_uuid) const {
  size_t members_there = 0;
  for (const auto& member : members_) {
    if (member.has_value() && member->request.gpu_uuid() == gpu_uuid) ++members_there;
  }
  const size_t plane = memory_.planes.empty() ? 0 : memory_.planes.front().bytes().value;
  return ByteCount{members_there * (plane + shared_.bytes().value)};
}

size_t Group::OpenFds() const {
  // A page is open for the daemon to write and for members to read.
  const size_t page = memory_.page == nullptr ? 0 : 2;
  return CountFds(memory_.planes) + page + shared_.OpenFds();
}

v1::JoinGroupResponse Group::JoinResponse() const {
  v1::JoinGroupResponse response;
  response.set_generation(generation_);
  response.set_plane_bytes(plane_bytes().value);
  for (const auto& member : members_) {
    *response.add_members() = ToProto(member->request, member->caller.pid);
  }
  return response;
}

std::vector<GroupRegistry::JoinDone> Group::StartMapping(GroupMemory memory, v1::FastPath fast_path,
                                                         absl::Duration timeout) {
  memory_ = std::move(memory);
  fast_path_ = std::move(fast_path);
  mapping_timeout_ = timeout;
  mapping_deadline_ = SteadyNow() + timeout;
  EnterState(State::kMapping);
  std::vector<GroupRegistry::JoinDone> joins;
  for (auto& member : members_) joins.push_back(std::exchange(member->join_done, nullptr));
  return joins;
}

// --- for a daemon that comes back

v1::GroupRecord Group::Record() const {
  v1::GroupRecord record;
  record.set_generation(generation_);
  record.set_name(key_.name);
  record.set_key(key_.key);
  record.set_uid(key_.uid);
  for (const auto& member : members_) {
    v1::MemberRecord* added = record.add_members();
    added->set_session_id(member->caller.session.value);
    added->set_pid(member->caller.pid);
    *added->mutable_request() = member->request;
  }
  if (!memory_.planes.empty()) {
    record.set_plane_bytes_held(memory_.planes.front().bytes().value);
  }
  if (fast_path_.has_value()) *record.mutable_fast_path() = *fast_path_;
  record.set_ready(state_ == State::kReady);
  record.set_page_lost(page_lost_);
  shared_.AddTo(record);
  return record;
}

absl::StatusOr<std::unique_ptr<Group>> Group::Restore(const v1::GroupRecord& record,
                                                      GroupMemory memory,
                                                      const GroupRegistry::Observer* observer,
                                                      AfterUnlock& after) {
  ABSL_ASSIGN_OR_RETURN(const ControlPage page, memory.page->Read());
  // The record says so unless there was no space for it.
  const bool ready = record.ready() || page.ready != 0;
  auto group = std::make_unique<Group>(
      record.generation(),
      GroupKey{.uid = record.uid(), .name = record.name(), .key = record.key()},
      WorldSize{record.members_size()}, observer);
  for (int rank = 0; rank < record.members_size(); ++rank) {
    const v1::MemberRecord& recorded = record.members(rank);
    Member& member = group->members_[static_cast<size_t>(rank)].emplace();
    member.caller = {
        .session = {recorded.session_id()}, .uid = record.uid(), .pid = recorded.pid()};
    member.request = recorded.request();
    member.confirmed = ready;
    member.gone = (page.left_mask >> rank & 1u) != 0;
  }
  if (record.has_fast_path()) group->fast_path_ = record.fast_path();
  group->memory_ = std::move(memory);
  group->memory_.record->Own();
  group->memory_.page->Own();
  group->page_lost_ = record.page_lost();
  if (group->page_lost_) group->files_problem_ = group->PageLost();
  group->EnterState(ready ? State::kReady : State::kMapping);
  if (page.stop != 0) {
    group->abort_reason_ = std::string(page.reason, strnlen(page.reason, sizeof(page.reason)));
    group->EnterState(State::kAborted);
  } else if (!ready) {
    group->Abort(Culprit{}, GroupEnd::kDaemonRestarted,
                 "the daemon was restarted before all ranks were ready", after);
  }
  return group;
}

void Group::SaveRecord() const {
  if (memory_.record != nullptr) memory_.record->Write(Record()).IgnoreError();
}

void Group::KeepFiles() const {
  if (memory_.record != nullptr) memory_.record->Keep();
  if (memory_.page != nullptr) memory_.page->Keep();
}

std::string Group::LookAfterFiles(AfterUnlock& after) {
  if (memory_.record == nullptr || state_ == State::kAborted) return "";
  if (const std::string cut = memory_.page->Cut(); !cut.empty()) {
    Abort(Culprit{}, GroupEnd::kPageCut, cut, after);
    return "";
  }
  std::vector<std::string> news;
  std::vector<std::string> problems;
  if (page_lost_) problems.push_back(PageLost());
  const bool page_was_there = !memory_.page->IsLost();
  if (!memory_.page->PutBack()) {
    problems.push_back(absl::StrFormat(
        "%s was removed: the group goes on, but a restarted daemon could not tell its workers of a "
        "death; restart them before the daemon",
        memory_.page->path()));
  } else if (!page_was_there) {
    news.push_back(absl::StrCat(memory_.page->path(), " was removed, and is put back"));
  }
  if (memory_.record->IsLost()) {
    const absl::Status written = memory_.record->Write(Record());
    if (written.ok()) {
      news.push_back(absl::StrCat(memory_.record->path(), " was removed, and is written again"));
    } else {
      problems.push_back(absl::StrFormat("%s was removed and cannot be written again: %s",
                                         memory_.record->path(), written.message()));
    }
  }
  std::string problem = absl::StrJoin(problems, "; ");
  if (problem != files_problem_) {
    files_problem_ = std::move(problem);
    if (!files_problem_.empty()) news.push_back(files_problem_);
  }
  return absl::StrJoin(news, "; ");
}

std::string Group::PageLost() const {
  return absl::StrFormat(
      "%s was removed before the daemon was restarted: the group goes on, but its workers are not "
      "told of a death; restart them",
      memory_.page->path());
}

// --- once the members have their memory

bool Group::IsHeldBy(SessionId session, Rank rank) const {
  // Before that nobody has been told the generation.
  if (state_ == State::kGathering || state_ == State::kAllocating) return false;
  if (rank.value < 0 || rank.value >= static_cast<int>(members_.size())) return false;
  const Member& member = *members_[static_cast<size_t>(rank.value)];
  return member.caller.session == session && !member.gone;
}

void Group::Confirm(Rank rank, GroupRegistry::ConfirmDone done, AfterUnlock& after) {
  Member& confirming = member(rank);
  absl::Status refusal;
  if (state_ == State::kAborted) {
    refusal = AbortedStatus();
  } else if (confirming.confirmed) {
    refusal = absl::FailedPreconditionError(
        absl::StrFormat("rank %d of %s has confirmed already", rank.value, label_));
  }
  if (!refusal.ok()) {
    after.Call([done = std::move(done), refusal]() mutable { done(refusal); });
    return;
  }
  confirming.confirmed = true;
  confirming.confirm_done = std::move(done);
  if (!UnconfirmedRanks().empty()) return;
  EnterState(State::kReady);
  // In the page as well, which has room for it whatever the disk has.
  memory_.page->WriteReady().IgnoreError();
  SaveRecord();
  Tell({.what = GroupNews::What::kReady}, after);
  AnswerConfirms(absl::OkStatus(), after);
}

std::vector<Rank> Group::UnconfirmedRanks() const {
  std::vector<Rank> unconfirmed;
  for (size_t i = 0; i < members_.size(); ++i) {
    if (!members_[i]->confirmed) unconfirmed.push_back(Rank{static_cast<int>(i)});
  }
  return unconfirmed;
}

std::vector<Rank> Group::GoneRanks() const {
  std::vector<Rank> gone;
  for (size_t i = 0; i < members_.size(); ++i) {
    if (members_[i].has_value() && members_[i]->gone) gone.push_back(Rank{static_cast<int>(i)});
  }
  return gone;
}

absl::Status Group::Leave(Rank rank, uint32_t last_epoch, AfterUnlock& after) {
  if (state_ == State::kMapping) {
    AbortBy(rank, GroupEnd::kMemberLeft, "left before all ranks had mapped the group's memory",
            after);
  }
  // Of a group that is over it is for a daemon that comes back: who has left holds nothing there.
  absl::Status written = memory_.page->WriteLeft(rank, last_epoch);
  if (!written.ok()) {
    // Or the others would wait for it in a call until they give up.
    AbortBy(rank, GroupEnd::kMemberLeft,
            absl::StrCat("left, which its page does not tell: ", written.message()), after);
  }
  shared_.FailWaiting(
      absl::FailedPreconditionError(absl::StrFormat("rank %d has left %s", rank.value, label_)),
      after);
  Release(rank, after);
  return written;
}

void Group::AbortBy(Rank rank, GroupEnd end, std::string_view reason, AfterUnlock& after) {
  const pid_t pid = member(rank).caller.pid;
  Abort(Culprit{rank, pid}, end, absl::StrFormat("%s: %s", RankAndProcess(rank, pid), reason),
        after);
}

absl::Status Group::CheckMayShare() const {
  if (state_ == State::kAborted) return AbortedStatus();
  if (state_ != State::kReady) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s is not ready yet; confirm it on every rank first", label_));
  }
  for (const auto& member : members_) {
    if (!member->gone) continue;
    return absl::FailedPreconditionError(
        absl::StrFormat("rank %d has left %s", member->request.rank(), label_));
  }
  return absl::OkStatus();
}

void Group::Release(Rank rank, AfterUnlock& after) {
  Member& released = member(rank);
  released.gone = true;
  if (released.confirm_done != nullptr) {
    after.Call([done = std::exchange(released.confirm_done, nullptr),
                status = AbortedStatus()]() mutable { done(status); });
  }
  shared_.FreeAll(rank, after);
}

void Group::Abort(const Culprit& culprit, GroupEnd end, std::string_view reason,
                  AfterUnlock& after) {
  if (state_ == State::kAborted) return;
  // It may be why a member died; those that live are to read why.
  const std::string cut = end == GroupEnd::kPageCut ? "" : memory_.page->Cut();
  abort_reason_ = std::string(
      CutUtf8(cut.empty() ? std::string(reason) : absl::StrCat(std::string(reason), "; ", cut),
              kControlPageReasonBytes - 1));
  if (end == GroupEnd::kPageCut || !cut.empty()) memory_.page->Mend(generation_).IgnoreError();
  // First of all: kernels spin until they see it.
  const absl::Status written = memory_.page->WriteStop(culprit, abort_reason_);
  if (!written.ok()) {
    absl::StrAppend(&abort_reason_, "; its members could not be told: ", written.message());
  } else if (page_lost_) {
    absl::StrAppend(&abort_reason_,
                    "; its other workers are not told, since their control page "
                    "was removed: end them");
  }
  TellEnded(end, abort_reason_, after);
  EnterState(State::kAborted);
  AnswerConfirms(AbortedStatus(), after);
  shared_.FailWaiting(AbortedStatus(), after);
}

absl::Status Group::AbortedStatus() const {
  return absl::AbortedError(absl::StrFormat("%s is over: %s", label_, abort_reason_));
}

void Group::AnswerConfirms(const absl::Status& status, AfterUnlock& after) {
  for (auto& member : members_) {
    if (!member.has_value() || member->confirm_done == nullptr) continue;
    after.Call(
        [done = std::exchange(member->confirm_done, nullptr), status]() mutable { done(status); });
  }
}

// --- in any state

std::vector<Rank> Group::RanksHeldBy(SessionId session) const {
  std::vector<Rank> ranks;
  for (int rank = 0; rank < static_cast<int>(members_.size()); ++rank) {
    if (IsHeldBy(session, Rank{rank})) ranks.push_back(Rank{rank});
  }
  return ranks;
}

void Group::GiveUpJoin(SessionId session, uint64_t attempt, std::string_view cause,
                       AfterUnlock& after) {
  const auto given_up = [&](const Member& member) {
    // Who has confirmed had its answer.
    return member.caller.session == session && member.request.attempt() == attempt &&
           !member.confirmed && !member.gone;
  };
  if (state_ == State::kGathering || state_ == State::kAllocating) {
    WithdrawJoins(given_up, GroupEnd::kMemberAborted, cause, after);
    return;
  }
  for (const auto& member : members_) {
    if (!given_up(*member)) continue;
    const Rank rank{member->request.rank()};
    AbortBy(rank, GroupEnd::kMemberAborted, cause, after);
    Leave(rank, 0, after).IgnoreError();  // it holds nothing either way
  }
}

void Group::SessionDied(SessionId session, std::string_view cause, AfterUnlock& after) {
  if (state_ == State::kGathering || state_ == State::kAllocating) {
    WithdrawJoins([&](const Member& member) { return member.caller.session == session; },
                  GroupEnd::kMemberEnded, cause, after);
    return;
  }
  for (const Rank rank : RanksHeldBy(session)) AbortBy(rank, GroupEnd::kMemberEnded, cause, after);
}

void Group::SessionEnded(SessionId session, std::string_view cause, AfterUnlock& after) {
  SessionDied(session, cause, after);
  for (const Rank rank : RanksHeldBy(session)) Release(rank, after);
}

void Group::WithdrawJoins(const std::function<bool(const Member&)>& which, GroupEnd end,
                          std::string_view cause, AfterUnlock& after) {
  std::string lost;
  for (auto& member : members_) {
    if (!member.has_value() || !which(*member)) continue;
    lost = absl::StrFormat("%s: %s",
                           RankAndProcess(Rank{member->request.rank()}, member->caller.pid), cause);
    after.Call([done = std::move(member->join_done), lost]() mutable {
      done(absl::CancelledError(lost));
    });
    member.reset();  // the place is free again
  }
  if (lost.empty()) return;
  if (state_ == State::kGathering && over()) TellEnded(end, lost, after);
  // Its memory is being made for ranks that are no longer all there, and nobody else may take the
  // place.
  if (state_ == State::kAllocating) {
    FailJoins(end, absl::AbortedError(absl::StrFormat("%s is over: %s", label_, lost)), after);
  }
}

void Group::AbortOnGpu(std::string_view gpu_uuid, GroupEnd end, std::string_view reason,
                       AfterUnlock& after) {
  // If nobody else, one that has left: the others have its memory mapped.
  const auto is_on_it = [&](const auto& member) {
    return member.has_value() && member->request.gpu_uuid() == gpu_uuid;
  };
  auto on_it = std::find_if(members_.begin(), members_.end(),
                            [&](const auto& member) { return is_on_it(member) && !member->gone; });
  if (on_it == members_.end()) on_it = std::find_if(members_.begin(), members_.end(), is_on_it);
  if (on_it == members_.end()) return;
  if (state_ == State::kGathering || state_ == State::kAllocating) {
    AbortFromOutside(end, reason, after);
  } else if (BytesOn(gpu_uuid).value > 0) {
    AbortBy(Rank{(*on_it)->request.rank()}, end, reason, after);
  }
}

void Group::AbortFromOutside(GroupEnd end, std::string_view reason, AfterUnlock& after) {
  StopForming(end,
              absl::UnavailableError(absl::StrFormat("%s cannot be formed: %s", label_, reason)),
              after);
  if (state_ != State::kGathering && state_ != State::kAllocating) {
    Abort(Culprit{}, end, reason, after);
  }
}

void Group::StopForming(GroupEnd end, const absl::Status& status, AfterUnlock& after) {
  if (state_ == State::kGathering || state_ == State::kAllocating) FailJoins(end, status, after);
}

SteadyTime Group::NextDeadline() const {
  switch (state_) {
    case State::kGathering:
      return FirstJoinDeadline();
    case State::kAllocating:  // once it does, the pool is bounded in time by itself
      return allocates_ ? SteadyTime::InfiniteFuture() : FirstJoinDeadline();
    case State::kMapping:
      return mapping_deadline_;
    case State::kReady:
      return shared_.NextDeadline();
    case State::kAborted:
      break;
  }
  return SteadyTime::InfiniteFuture();
}

SteadyTime Group::FirstJoinDeadline() const {
  SteadyTime first = SteadyTime::InfiniteFuture();
  for (const auto& member : members_) {
    if (member.has_value()) first = std::min(first, member->deadline);
  }
  return first;
}

void Group::Expire(SteadyTime now, AfterUnlock& after) {
  if (NextDeadline() > now) return;
  if (state_ == State::kGathering || state_ == State::kAllocating) ExpireJoins(now, after);
  if (state_ == State::kMapping) ExpireMapping(after);
  if (state_ == State::kReady) shared_.Expire(now, after);
}

void Group::ExpireJoins(SteadyTime now, AfterUnlock& after) {
  const auto late = std::find_if(members_.begin(), members_.end(), [&](const auto& member) {
    return member.has_value() && member->deadline <= now;
  });
  const std::string timeout = absl::FormatDuration((*late)->timeout);
  if (state_ == State::kAllocating) {
    return FailJoins(GroupEnd::kDeadline,
                     absl::DeadlineExceededError(absl::StrFormat(
                         "all ranks of %s have joined, but the daemon still proves peer access or "
                         "makes memory for others after %s: try again",
                         label_, timeout)),
                     after);
  }
  FailJoins(GroupEnd::kDeadline,
            absl::DeadlineExceededError(absl::StrFormat("%s of %d did not join %s within %s",
                                                        RankList(MissingRanks()), members_.size(),
                                                        label_, timeout)),
            after);
}

void Group::ExpireMapping(AfterUnlock& after) {
  const std::vector<Rank> missing = UnconfirmedRanks();
  const std::string reason =
      absl::StrFormat("%s of %d did not map the memory of %s within %s", RankList(missing),
                      members_.size(), label_, absl::FormatDuration(mapping_timeout_));
  // Those who waited in time are told of the deadline, later callers of the abort.
  AnswerConfirms(absl::DeadlineExceededError(reason), after);
  Culprit culprit;
  if (missing.size() == 1) culprit = {missing.front(), member(missing.front()).caller.pid};
  Abort(culprit, GroupEnd::kDeadline, reason, after);
}

void Group::FailAllWaiting(const absl::Status& status, AfterUnlock& after) {
  StopForming(GroupEnd::kDaemonStopping, status, after);
  AnswerConfirms(status, after);
  shared_.FailWaiting(status, after);
}

v1::GroupInfo Group::Info(SteadyTime now) const {
  v1::GroupInfo info;
  info.set_name(key_.name);
  info.set_generation(generation_);
  info.set_uid(key_.uid);
  info.set_state(ToProto(state_));
  info.set_world_size(static_cast<int>(members_.size()));
  for (const auto& member : members_) {
    if (!member.has_value()) continue;
    v1::GroupMember* shown = info.add_members();
    shown->set_rank(member->request.rank());
    shown->set_pid(member->caller.pid);
    shown->set_gpu_uuid(member->request.gpu_uuid());
    shown->set_left(member->gone);
    shown->set_session(absl::StrFormat("%016x", member->caller.session.value));
  }
  std::vector<Rank> missing;
  if (state_ == State::kGathering) missing = MissingRanks();
  if (state_ == State::kMapping) missing = UnconfirmedRanks();
  for (const Rank rank : missing) info.add_missing_ranks(rank.value);
  info.set_state_ms(absl::ToInt64Milliseconds(now - state_since_));
  info.set_plane_bytes(plane_bytes().value);
  info.set_shared_bytes(shared_.bytes().value);
  info.set_abort_reason(abort_reason_);
  info.set_files_problem(files_problem_);
  info.set_holds_memory(!memory_.planes.empty() || shared_.bytes().value > 0);
  if (fast_path_.has_value()) *info.mutable_fast_path() = *fast_path_;
  return info;
}

}  // namespace nodecomm
