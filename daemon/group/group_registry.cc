#include "daemon/group/group_registry.h"

#include <unistd.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/base/status_macros.h"
#include "client/base/steady_wait.h"
#include "daemon/group/after_unlock.h"
#include "daemon/group/ended_sessions.h"
#include "daemon/group/group.h"
#include "daemon/group/group_memory.h"
#include "daemon/group/join_rules.h"
#include "daemon/group/text.h"
#include "daemon/process/open_fds.h"

namespace nodecomm {
namespace {

constexpr char kNoSessionRecord[] = "the restarted daemon finds no record of its session";

// What becomes of a group that an earlier daemon left and this one cannot watch.
constexpr char kAborted[] = "its group is aborted, and its workers are told";
constexpr char kForgotten[] =
    "workers of its group, if there are any, are no longer told of deaths: restart them";

class RendezvousGroupRegistry final : public GroupRegistry {
 public:
  RendezvousGroupRegistry(Options options, Parts parts)
      : options_(std::move(options)),
        limits_(options_.limits),
        sharing_(parts.admission->allows_gpu_sharing() ? GpuSharing::kAllowed
                                                       : GpuSharing::kForbidden),
        admission_(parts.admission),
        pool_(parts.pool),
        courier_(parts.courier),
        forms_(options_.forming == Options::Forming::kAtOnce),
        // No earlier daemon's. Also where the host was set back since, unless to within
        // microseconds of that one's beginning; those on record are passed over in any case.
        next_generation_(static_cast<uint64_t>(absl::ToUnixNanos(absl::Now()))) {}
  ~RendezvousGroupRegistry() override { Stop(); }

  absl::Status Start() {
    if (!options_.groups_dir.empty()) ABSL_RETURN_IF_ERROR(TakeOver());
    if (options_.threads == Options::Threads::kCallers) return absl::OkStatus();
    timer_ = std::thread([this] { RunTimer(); });
    allocator_ = std::thread([this] { RunAllocator(); });
    return absl::OkStatus();
  }

  void Join(const Caller& caller, const v1::JoinGroupRequest& request, JoinDone done) override;
  void Confirm(const Caller& caller, const v1::ConfirmGroupRequest& request,
               ConfirmDone done) override;
  void AllocateShared(const Caller& caller, const v1::AllocateSharedRequest& request,
                      SharedDone done) override;
  absl::Status FreeShared(const Caller& caller, const v1::FreeSharedRequest& request) override;
  absl::Status Leave(const Caller& caller, const v1::LeaveGroupRequest& request) override;
  absl::Status Abort(const Caller& caller, const v1::AbortGroupRequest& request) override;
  void GiveUpJoin(const Caller& caller, uint64_t attempt, std::string_view cause) override;
  void SessionDied(SessionId session, std::string_view cause) override;
  void SessionEnded(SessionId session, std::string_view cause) override;
  void GpuLost(std::string_view gpu_uuid, std::string_view cause) override;
  void AbortOnGpu(std::string_view gpu_uuid, std::string_view reason) override;
  absl::Status AbortByAdmin(uint64_t generation, std::string_view reason) override;
  void StartForming() override;
  void StopForming(std::string_view reason) override;
  void AbortAll(std::string_view reason) override;
  void SetLimits(const Limits& limits) override;
  void LookAfterFiles() override;
  void RunDue(SteadyTime now) override;
  std::vector<v1::GroupInfo> List() const override;

 private:
  using Groups = std::map<uint64_t, std::unique_ptr<Group>>;

  // Memory to be made: a group's planes, or one of its shared buffers. At most one of the former
  // and kSharedBuffersMax of the latter wait for each of at most groups_max groups.
  struct Job {
    uint64_t generation = 0;
    std::optional<uint64_t> shared_sequence;
  };
  struct UserJobs {
    std::deque<Job> jobs;
    uint64_t last_turn = 0;
  };
  // What Job needs to know of its group, copied so that it can be used without the lock.
  struct Plan {
    std::vector<std::string> gpu_uuids;
    std::vector<SessionId> sessions;
    ByteCount bytes;
    v1::JoinGroupResponse response;
    v1::GroupRecord record;
    uid_t uid = 0;
    // What the user's groups hold on each of gpu_uuids. Exact: one job is done at a time.
    std::vector<ByteCount> held;
  };
  struct Formed {
    GroupMemory memory;
    std::vector<Parcel> parcels;
  };

  void AddJoin(Group::Join join, AfterUnlock& after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Group*> FindOrStartGathering(const Group::Join& join)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Group*> FindHeld(const Caller& caller, uint64_t generation, Rank rank)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Null: it has ended meanwhile.
  Group* FindGroup(uint64_t generation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Destroys the group if it is over; returns the next one.
  Groups::iterator EraseIfOver(Groups::iterator group, AfterUnlock& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EraseIfOver(const Group& group, AfterUnlock& after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    EraseIfOver(groups_.find(group.generation()), after);
  }
  // Each in turn, under the lock; those that are over then are destroyed.
  void ForEach(const std::function<void(Group&, AfterUnlock&)>& act);
  void StopGathering(const Group& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Queue(uid_t uid, Job job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Of a group that is over, or they would pile up while none is done.
  void ForgetJobs(const Group& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The first that may be done now of the user whose turn was longest ago: one who queues thousands
  // holds up others by one each.
  std::optional<Job> TakeJob() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  absl::Status TakeOver();
  // Files of a group that cannot be gone on with, but may be by a later daemon, go to `kept`.
  absl::StatusOr<std::unique_ptr<Group>> Restore(const v1::GroupRecord& record,
                                                 std::set<uint64_t>& kept, AfterUnlock& after);
  void Report(GroupDamage damage, AfterUnlock& after);
  // Nobody watches the members of such a group: it is aborted where its page lets that be said.
  bool StopUnwatched(GroupDamage damage, AfterUnlock& after);
  absl::StatusOr<std::vector<PlaneLease>> AdoptEach(const v1::GroupRecord& record, uint64_t bytes);

  void RunTimer();
  // Returns when it is to be called next.
  SteadyTime Expire(SteadyTime now, AfterUnlock& after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RunAllocator();
  void Do(const Job& job);
  std::optional<Plan> PlanOf(const Job& job);
  void FormGroup(const Job& job, Plan plan);
  ByteCount HeldBy(uid_t uid, std::string_view gpu_uuid) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  size_t GroupsOf(uid_t uid) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // The daemon's descriptors that a user's groups take, or all groups.
  size_t FdsOf(std::optional<uid_t> uid) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  absl::Status CheckMayStart(const GroupKey& key) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  absl::Status CheckQuota(const Plan& plan) const;
  // The pool's account of the GPU, of all users.
  std::string AccountOf(std::string_view gpu_uuid) const;
  absl::StatusOr<std::vector<PlaneLease>> AcquirePlanes(const Plan& plan);
  absl::Status MakeFiles(const Plan& plan, GroupMemory& memory);
  absl::Status FilesError(const absl::Status& failure, const Plan& plan) const;
  absl::StatusOr<Formed> MakeMemory(const Job& job, const Plan& plan);
  absl::StatusOr<Formed> TryToMakeMemory(const Job& job, const Plan& plan);
  void MakeSharedBuffer(const Job& job, Plan plan);
  void Stop();

  Limits CurrentLimits() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return limits_;
  }

  const Options options_;
  Limits limits_ ABSL_GUARDED_BY(mu_);  // at first those of options_
  const GpuSharing sharing_;
  // All three outlive the registry.
  const Admission* const admission_;
  PlanePool* const pool_;
  FdCourier* const courier_;

  mutable absl::Mutex mu_;
  SteadyCondVar deadlines_changed_;
  absl::CondVar jobs_changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool forms_ ABSL_GUARDED_BY(mu_);
  std::string forms_none_ ABSL_GUARDED_BY(mu_);  // not empty: why no group comes to be any more
  uint64_t next_generation_ ABSL_GUARDED_BY(mu_);
  Groups groups_ ABSL_GUARDED_BY(mu_);  // by generation
  // Those of groups_ that ranks may still join.
  std::map<GroupKey, Group*> gathering_ ABSL_GUARDED_BY(mu_);
  EndedSessions ended_ ABSL_GUARDED_BY(mu_);
  std::map<uid_t, UserJobs> jobs_ ABSL_GUARDED_BY(mu_);  // of users who have any
  uint64_t turn_ ABSL_GUARDED_BY(mu_) = 0;
  std::thread timer_;
  std::thread allocator_;
};

// --- taking over from an earlier daemon

// Before any thread of the registry runs.
absl::Status RendezvousGroupRegistry::TakeOver() {
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  ABSL_ASSIGN_OR_RETURN(const FoundGroups found, ReadGroupRecords(options_.groups_dir));
  std::set<uint64_t> kept;
  for (const auto& [generation, why] : found.unread) {
    StopUnwatched({.generation = generation, .what = std::string(why.message())}, after);
    kept.insert(generation);
  }
  for (const DamagedRecord& record : found.damaged) {
    StopUnwatched({.generation = record.generation,
                   .what = absl::StrCat(record.path, " is damaged: ", record.why.message())},
                  after);
  }
  for (const v1::GroupRecord& record : found.records) {
    // Also where the clock has been set back meanwhile.
    next_generation_ = std::max(next_generation_, record.generation() + 1);
    absl::StatusOr<std::unique_ptr<Group>> group = Restore(record, kept, after);
    if (group.ok()) groups_.emplace(record.generation(), *std::move(group));
  }
  // What has no record was never handed out, or somebody removed the record.
  constexpr char kNoRecord[] = "the restarted daemon finds no record of the group";
  for (const uint64_t generation :
       ControlPageFile::RemoveAllBut(options_.groups_dir, kept, kNoRecord)) {
    Report({.generation = generation,
            .what = absl::StrCat(ControlPageFile::PathOf(options_.groups_dir, generation),
                                 " has no record beside it: ", kAborted)},
           after);
  }
  for (auto it = groups_.begin(); it != groups_.end();) {
    for (const SessionId session : it->second->Sessions()) {
      const auto& lives = options_.sessions;
      if (std::find(lives.begin(), lives.end(), session) != lives.end()) continue;
      const auto lost = options_.lost_sessions.find(session);
      it->second->SessionEnded(
          session, lost == options_.lost_sessions.end() ? kNoSessionRecord : lost->second, after);
    }
    it = EraseIfOver(it, after);
  }
  return absl::OkStatus();
}

void RendezvousGroupRegistry::Report(GroupDamage damage, AfterUnlock& after) {
  after.Call([damaged = &options_.damaged, damage = std::move(damage)] { (*damaged)(damage); });
}

bool RendezvousGroupRegistry::StopUnwatched(GroupDamage damage, AfterUnlock& after) {
  const std::string reason =
      absl::StrCat("the restarted daemon cannot go on with it: ", damage.what);
  const absl::Status stopped =
      ControlPageFile::Stop(options_.groups_dir, damage.generation, reason);
  absl::StrAppend(&damage.what, ": ", stopped.ok() ? kAborted : kForgotten);
  Report(std::move(damage), after);
  return stopped.ok();
}

absl::StatusOr<std::vector<PlaneLease>> RendezvousGroupRegistry::AdoptEach(
    const v1::GroupRecord& record, uint64_t bytes) {
  std::vector<PlaneLease> leases;
  for (const v1::MemberRecord& member : record.members()) {
    ABSL_ASSIGN_OR_RETURN(PlaneLease lease, pool_->Adopt(member.request().gpu_uuid(),
                                                         ByteCount{static_cast<size_t>(bytes)}));
    leases.push_back(std::move(lease));
  }
  return leases;
}

absl::StatusOr<std::unique_ptr<Group>> RendezvousGroupRegistry::Restore(
    const v1::GroupRecord& record, std::set<uint64_t>& kept, AfterUnlock& after) {
  GroupMemory memory;
  // Nothing is written: the disk may be full, and the group is well all the same.
  memory.record = GroupRecordFile::Adopt(options_.groups_dir, record.generation());
  auto page = ControlPageFile::Reopen(options_.groups_dir, record.generation());
  const auto stop_unwatched = [&](const absl::Status& why) {
    return StopUnwatched({.generation = record.generation(),
                          .name = record.name(),
                          .uid = static_cast<uid_t>(record.uid()),
                          .what = std::string(why.message())},
                         after);
  };
  // A page that was stopped is whole again; so its members stay known until they let go.
  if (absl::IsInvalidArgument(page.status()) && stop_unwatched(page.status())) {
    page = ControlPageFile::Reopen(options_.groups_dir, record.generation());
  }
  v1::GroupRecord known = record;
  if (absl::IsNotFound(page.status())) {
    // Its members go on, and read a file that nobody can write any more. They stay known until they
    // let go, with a page that only a later daemon reads.
    if (auto fresh = ControlPageFile::Create(options_.groups_dir, record.generation());
        fresh.ok()) {
      page = *std::move(fresh);
      (*page)->Keep();
      known.set_page_lost(true);
    } else {
      stop_unwatched(page.status());
    }
  }
  if (absl::IsNotFound(page.status()) || absl::IsInvalidArgument(page.status())) {
    memory.record->Own();  // its members have no page, or another's
    return page.status();
  }
  kept.insert(record.generation());
  if (!page.ok()) {
    stop_unwatched(page.status());
    return page.status();
  }
  memory.page = *std::move(page);

  std::vector<std::vector<PlaneLease>> shared;
  absl::Status adopted;
  if (record.plane_bytes_held() > 0) {
    auto planes = AdoptEach(record, record.plane_bytes_held());
    adopted = planes.status();
    if (planes.ok()) memory.planes = *std::move(planes);
  }
  for (const v1::SharedBufferRecord& buffer : record.shared()) {
    if (!adopted.ok()) break;
    auto leases = AdoptEach(record, buffer.bytes());
    adopted = leases.status();
    if (leases.ok()) shared.push_back(*std::move(leases));
  }
  if (!adopted.ok()) {
    // Its members wait for each other on a GPU that is gone. The files go once they have been told.
    if (stop_unwatched(adopted)) {
      memory.page->Own();
      memory.record->Own();
    }
    return adopted;
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Group> group,
                        Group::Restore(known, std::move(memory), &options_.observer, after));
  if (group->page_lost()) {
    group->SaveRecord();
    Report({.generation = record.generation(),
            .name = record.name(),
            .uid = static_cast<uid_t>(record.uid()),
            .what = group->files_problem()},
           after);
  }
  for (int i = 0; i < record.shared_size(); ++i) {
    group->shared().Restore(record.shared(i), std::move(shared[static_cast<size_t>(i)]));
  }
  // The record of a group says who held its buffers when it was last written, before some left.
  for (const Rank rank : group->GoneRanks()) group->shared().FreeAll(rank, after);
  return group;
}

// --- joining

void RendezvousGroupRegistry::Join(const Caller& caller, const v1::JoinGroupRequest& request,
                                   JoinDone done) {
  Group::Join join{.caller = caller, .request = request, .timeout = {}, .deadline = {}, .done = {}};
  // What this version does not know is not kept: it would take room in the group's record.
  join.request.DiscardUnknownFields();
  if (request.plane_bytes() == 0) {
    join.request.set_plane_bytes(options_.plane_bytes_default.value);
  }
  const absl::StatusOr<absl::Duration> timeout =
      RendezvousTimeout(request.timeout_ms(), CurrentLimits().rendezvous_timeout_default);
  const v1::Host host = admission_->host();
  join.request.set_gpu_uuid(ResolveGpu(request, host));
  absl::Status status = CheckJoin(join.request, host, sharing_);
  if (status.ok()) status = admission_->CheckUser(caller.uid, join.request.gpu_uuid());
  if (status.ok()) status = timeout.status();
  if (!status.ok()) {
    done(status);
    return;
  }
  join.timeout = *timeout;
  join.deadline = SteadyNow() + *timeout;
  join.done = std::move(done);
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  AddJoin(std::move(join), after);
}

void RendezvousGroupRegistry::AddJoin(Group::Join join, AfterUnlock& after) {
  const auto refuse = [&](const absl::Status& status) {
    after.Call([done = std::move(join.done), status]() mutable { done(status); });
  };
  absl::StatusOr<Group*> found = FindOrStartGathering(join);
  if (!found.ok()) return refuse(found.status());
  Group& group = **found;
  if (absl::Status status = group.CheckRankFree(join.request); !status.ok()) return refuse(status);
  if (absl::Status status = group.CheckAgrees(join.request, sharing_); !status.ok()) {
    // Nobody waits for a deadline that can only fail.
    refuse(status);
    group.FailJoins(GroupEnd::kDisagreement, status, after);
    EraseIfOver(group, after);
    return;
  }
  if (group.Add(std::move(join))) {
    StopGathering(group);
    Queue(group.key().uid, Job{.generation = group.generation(), .shared_sequence = std::nullopt});
  }
  deadlines_changed_.SignalAll();
}

absl::StatusOr<Group*> RendezvousGroupRegistry::FindOrStartGathering(const Group::Join& join) {
  if (stopping_) return absl::UnavailableError("the daemon is stopping");
  if (!forms_none_.empty()) return absl::UnavailableError(forms_none_);
  if (ended_.Contains(join.caller.session)) {
    return absl::CancelledError("the session has ended");
  }
  GroupKey key{.uid = join.caller.uid, .name = join.request.name(), .key = join.request.key()};
  const auto found = gathering_.find(key);
  if (found != gathering_.end()) return found->second;
  ABSL_RETURN_IF_ERROR(CheckMayStart(key));
  const uint64_t generation = next_generation_++;
  auto group = std::make_unique<Group>(generation, key, WorldSize{join.request.world_size()},
                                       &options_.observer);
  Group* const started = group.get();
  groups_.emplace(generation, std::move(group));
  gathering_.emplace(std::move(key), started);
  return started;
}

absl::Status RendezvousGroupRegistry::CheckMayStart(const GroupKey& key) const {
  const size_t own = GroupsOf(key.uid);
  const size_t all = groups_.size();
  if (all >= static_cast<size_t>(limits_.groups_max)) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "this daemon has %d groups already, of at most %d, and user %d has %d of them; end some, "
        "or raise limits.groups_max",
        all, limits_.groups_max, key.uid, own));
  }
  if (own >= static_cast<size_t>(limits_.groups_per_uid_max)) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "user %d has %d groups already, of at most %d, and this daemon %d in all, of at most %d; "
        "end some, or raise limits.groups_per_uid_max",
        key.uid, own, limits_.groups_per_uid_max, all, limits_.groups_max));
  }
  return absl::OkStatus();
}

void RendezvousGroupRegistry::StopGathering(const Group& group) {
  const auto found = gathering_.find(group.key());
  if (found != gathering_.end() && found->second == &group) gathering_.erase(found);
}

void RendezvousGroupRegistry::Queue(uid_t uid, Job job) {
  // A newcomer counts as served just now: nobody gains by coming again and again.
  jobs_.try_emplace(uid, UserJobs{.jobs = {}, .last_turn = turn_})
      .first->second.jobs.push_back(job);
  jobs_changed_.Signal();
}

void RendezvousGroupRegistry::ForgetJobs(const Group& group) {
  const auto user = jobs_.find(group.key().uid);
  if (user == jobs_.end()) return;
  std::erase_if(user->second.jobs,
                [&](const Job& job) { return job.generation == group.generation(); });
  if (user->second.jobs.empty()) jobs_.erase(user);
}

std::optional<RendezvousGroupRegistry::Job> RendezvousGroupRegistry::TakeJob() {
  const auto may_be_done = [forms = forms_](const Job& job) {
    return forms || job.shared_sequence.has_value();
  };
  auto chosen = jobs_.end();
  for (auto user = jobs_.begin(); user != jobs_.end(); ++user) {
    if (chosen != jobs_.end() && user->second.last_turn >= chosen->second.last_turn) continue;
    const std::deque<Job>& jobs = user->second.jobs;
    if (std::any_of(jobs.begin(), jobs.end(), may_be_done)) chosen = user;
  }
  if (chosen == jobs_.end()) return std::nullopt;
  std::deque<Job>& jobs = chosen->second.jobs;
  const auto next = std::find_if(jobs.begin(), jobs.end(), may_be_done);
  Job job = *next;
  jobs.erase(next);
  chosen->second.last_turn = ++turn_;
  if (jobs.empty()) jobs_.erase(chosen);
  return job;
}

void RendezvousGroupRegistry::StartForming() {
  absl::MutexLock lock(&mu_);
  forms_ = true;
  jobs_changed_.Signal();
}

// --- memory

void RendezvousGroupRegistry::RunAllocator() {
  while (true) {
    Job job;
    {
      absl::MutexLock lock(&mu_);
      std::optional<Job> next;
      while (!stopping_ && !(next = TakeJob()).has_value()) jobs_changed_.Wait(&mu_);
      if (stopping_) return;
      job = *next;
    }
    Do(job);
  }
}

void RendezvousGroupRegistry::Do(const Job& job) {
  std::optional<Plan> plan = PlanOf(job);
  if (!plan.has_value()) return;
  if (job.shared_sequence.has_value()) {
    MakeSharedBuffer(job, *std::move(plan));
  } else {
    FormGroup(job, *std::move(plan));
  }
}

void RendezvousGroupRegistry::RunDue(SteadyTime now) {
  while (true) {
    std::optional<Job> job;
    {
      absl::MutexLock lock(&mu_);
      job = TakeJob();
    }
    if (!job.has_value()) break;
    Do(*job);
  }
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  Expire(now, after);
}

std::optional<RendezvousGroupRegistry::Plan> RendezvousGroupRegistry::PlanOf(const Job& job) {
  absl::MutexLock lock(&mu_);
  Group* const group = FindGroup(job.generation);
  if (group == nullptr) return std::nullopt;
  const ByteCount bytes = job.shared_sequence.has_value()
                              ? group->shared().BytesToAllocate(*job.shared_sequence)
                              : group->plane_bytes();
  if (bytes.value == 0) return std::nullopt;
  if (!job.shared_sequence.has_value()) group->BeginAllocating();
  Plan plan{.gpu_uuids = group->GpuUuids(),
            .sessions = group->Sessions(),
            .bytes = bytes,
            .response = group->JoinResponse(),
            .record = group->Record(),
            .uid = group->key().uid,
            .held = {}};
  for (const std::string& uuid : plan.gpu_uuids) plan.held.push_back(HeldBy(plan.uid, uuid));
  return plan;
}

ByteCount RendezvousGroupRegistry::HeldBy(uid_t uid, std::string_view gpu_uuid) const {
  ByteCount sum;
  for (const auto& [generation, group] : groups_) {
    if (group->key().uid == uid) sum.value += group->BytesOn(gpu_uuid).value;
  }
  return sum;
}

size_t RendezvousGroupRegistry::GroupsOf(uid_t uid) const {
  return static_cast<size_t>(
      std::count_if(groups_.begin(), groups_.end(),
                    [uid](const auto& entry) { return entry.second->key().uid == uid; }));
}

size_t RendezvousGroupRegistry::FdsOf(std::optional<uid_t> uid) const {
  size_t sum = 0;
  for (const auto& [generation, group] : groups_) {
    if (!uid.has_value() || group->key().uid == *uid) sum += group->OpenFds();
  }
  return sum;
}

std::string RendezvousGroupRegistry::AccountOf(std::string_view gpu_uuid) const {
  for (const v1::PoolInfo& pool : pool_->List()) {
    if (pool.gpu_uuid() == gpu_uuid) return AccountText(pool);
  }
  return "nothing is known";
}

absl::Status RendezvousGroupRegistry::CheckQuota(const Plan& plan) const {
  const size_t limit = CurrentLimits().bytes_per_gpu_per_uid_max.value;
  for (size_t i = 0; i < plan.gpu_uuids.size(); ++i) {
    // Ranks may share a GPU.
    const auto here = std::count(plan.gpu_uuids.begin(), plan.gpu_uuids.end(), plan.gpu_uuids[i]);
    const size_t held = plan.held[i].value;
    if (held <= limit && plan.bytes.value <= (limit - held) / static_cast<size_t>(here)) continue;
    return absl::ResourceExhaustedError(absl::StrFormat(
        "user %d asks for %d x %u bytes on GPU %s and holds %u there, of at most %u "
        "(pool.bytes_per_gpu_per_uid_max); ask for less, or end other groups. Of all users' bytes "
        "there, %s",
        plan.uid, here, plan.bytes.value, plan.gpu_uuids[i], held, limit,
        AccountOf(plan.gpu_uuids[i])));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PlaneLease>> RendezvousGroupRegistry::AcquirePlanes(const Plan& plan) {
  ABSL_RETURN_IF_ERROR(CheckQuota(plan));
  absl::StatusOr<std::vector<PlaneLease>> planes = AcquireEach(*pool_, plan.gpu_uuids, plan.bytes);
  if (!absl::IsResourceExhausted(planes.status()) || SaysNoFdIsLeft(planes.status())) return planes;
  std::string held;
  for (size_t i = 0; i < plan.held.size(); ++i) {
    absl::StrAppend(&held, i == 0 ? "" : ", ", plan.held[i].value);
  }
  return absl::ResourceExhaustedError(
      absl::StrFormat("%s. User %d holds %s bytes on the group's GPUs in rank order",
                      planes.status().message(), plan.uid, held));
}

absl::Status RendezvousGroupRegistry::MakeFiles(const Plan& plan, GroupMemory& memory) {
  v1::GroupRecord record = plan.record;
  ABSL_ASSIGN_OR_RETURN(memory.page,
                        ControlPageFile::Create(options_.groups_dir, record.generation()));
  // Before any member has its memory: a daemon that comes back must know of all that have.
  *record.mutable_fast_path() = plan.response.fast_path();
  if (!memory.planes.empty()) {
    record.set_plane_bytes_held(memory.planes.front().bytes().value);
  }
  ABSL_ASSIGN_OR_RETURN(memory.record, GroupRecordFile::Create(options_.groups_dir, record));
  return absl::OkStatus();
}

absl::Status RendezvousGroupRegistry::FilesError(const absl::Status& failure,
                                                 const Plan& plan) const {
  if (SaysNoFdIsLeft(failure)) return failure;
  // The codes of errno would say that whoever asks is at fault.
  if (!absl::IsResourceExhausted(failure)) {
    return absl::UnavailableError(
        absl::StrFormat("the daemon cannot keep what belongs to the group: %s; see nodecommctl "
                        "doctor on the host",
                        failure.message()));
  }
  absl::MutexLock lock(&mu_);
  return absl::ResourceExhaustedError(absl::StrFormat(
      "%s; user %d has %d groups, this one among them, and this daemon %d in all; end some, or see "
      "nodecommctl doctor on the host",
      failure.message(), plan.uid, GroupsOf(plan.uid), groups_.size()));
}

absl::StatusOr<RendezvousGroupRegistry::Formed> RendezvousGroupRegistry::MakeMemory(
    const Job& job, const Plan& plan) {
  absl::StatusOr<Formed> formed = TryToMakeMemory(job, plan);
  if (!SaysNoFdIsLeft(formed.status())) return formed;
  absl::MutexLock lock(&mu_);
  return absl::ResourceExhaustedError(absl::StrFormat(
      "%s, or end other groups. User %d's groups hold %d descriptors of the daemon, all groups %d",
      WithFdAdvice(formed.status()).message(), plan.uid, FdsOf(plan.uid), FdsOf(std::nullopt)));
}

absl::StatusOr<RendezvousGroupRegistry::Formed> RendezvousGroupRegistry::TryToMakeMemory(
    const Job& job, const Plan& plan) {
  Formed formed;
  // A group without fast path only needs its page, to learn of its end.
  if (job.shared_sequence.has_value() || plan.response.fast_path().supported()) {
    ABSL_ASSIGN_OR_RETURN(formed.memory.planes, AcquirePlanes(plan));
  }
  if (!job.shared_sequence.has_value()) {
    const absl::Status made = MakeFiles(plan, formed.memory);
    if (!made.ok()) return FilesError(made, plan);
  }
  ABSL_ASSIGN_OR_RETURN(formed.parcels, PackForAll(plan.sessions.size(), formed.memory.planes,
                                                   formed.memory.page.get()));
  return formed;
}

void RendezvousGroupRegistry::FormGroup(const Job& job, Plan plan) {
  *plan.response.mutable_fast_path() = admission_->DecideFastPath(plan.gpu_uuids);
  absl::StatusOr<Formed> formed = MakeMemory(job, plan);

  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  Group* const group = FindGroup(job.generation);
  if (group == nullptr) {  // a member's session has ended meanwhile
    after.Destroy(std::move(formed));
    return;
  }
  if (!formed.ok()) {
    group->FailJoins(GroupEnd::kNoMemory, formed.status(), after);
    EraseIfOver(*group, after);
    return;
  }
  auto joins =
      group->StartMapping(std::move(formed->memory), plan.response.fast_path(),
                          std::clamp(group->ShortestTimeout(), options_.mapping_timeout_min,
                                     options_.mapping_timeout_max));
  deadlines_changed_.SignalAll();
  after.Call([courier = courier_, plan = std::move(plan), parcels = std::move(formed->parcels),
              joins = std::move(joins)]() mutable {
    for (size_t i = 0; i < joins.size(); ++i) {
      plan.response.set_transfer_id(courier->Send(plan.sessions[i], std::move(parcels[i])));
      joins[i](plan.response);
    }
  });
}

void RendezvousGroupRegistry::MakeSharedBuffer(const Job& job, Plan plan) {
  absl::StatusOr<Formed> formed = MakeMemory(job, plan);
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  Group* const group = FindGroup(job.generation);
  if (group != nullptr && !formed.ok()) {
    group->shared().Fail(*job.shared_sequence, formed.status(), after);
    return;
  }
  std::vector<SharedDone> answers;
  uint64_t bytes = 0;
  if (group != nullptr) {
    bytes = formed->memory.planes.front().bytes().value;
    answers = group->shared().Complete(*job.shared_sequence, formed->memory.planes);
    if (!answers.empty()) group->SaveRecord();
  }
  if (answers.empty()) {  // the group has ended, or a member has left, meanwhile
    after.Destroy(std::move(formed));
    return;
  }
  after.Call([courier = courier_, bytes, sessions = std::move(plan.sessions),
              parcels = std::move(formed->parcels), answers = std::move(answers)]() mutable {
    v1::AllocateSharedResponse response;
    response.set_bytes(bytes);
    for (size_t i = 0; i < answers.size(); ++i) {
      response.set_transfer_id(courier->Send(sessions[i], std::move(parcels[i])));
      answers[i](response);
    }
  });
}

// --- calls of members

Group* RendezvousGroupRegistry::FindGroup(uint64_t generation) {
  const auto found = groups_.find(generation);
  return found == groups_.end() ? nullptr : found->second.get();
}

absl::StatusOr<Group*> RendezvousGroupRegistry::FindHeld(const Caller& caller, uint64_t generation,
                                                         Rank rank) {
  Group* const group = FindGroup(generation);
  // The same answer for a group of others and for none.
  if (group == nullptr || !group->IsHeldBy(caller.session, rank)) {
    return absl::NotFoundError(
        absl::StrFormat("process %d holds no rank %d in a group of generation %d", caller.pid,
                        rank.value, generation));
  }
  return group;
}

void RendezvousGroupRegistry::Confirm(const Caller& caller, const v1::ConfirmGroupRequest& request,
                                      ConfirmDone done) {
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  const Rank rank{request.rank()};
  absl::StatusOr<Group*> group = FindHeld(caller, request.generation(), rank);
  if (!group.ok()) {
    after.Call([done = std::move(done), status = group.status()]() mutable { done(status); });
    return;
  }
  (*group)->Confirm(rank, std::move(done), after);
}

void RendezvousGroupRegistry::AllocateShared(const Caller& caller,
                                             const v1::AllocateSharedRequest& request,
                                             SharedDone done) {
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  const Rank rank{request.rank()};
  const absl::StatusOr<absl::Duration> timeout =
      RendezvousTimeout(request.timeout_ms(), limits_.rendezvous_timeout_default);
  absl::StatusOr<Group*> group = FindHeld(caller, request.generation(), rank);
  absl::Status status = group.status();
  if (status.ok()) status = timeout.status();
  if (status.ok()) status = (*group)->CheckMayShare();
  if (!status.ok()) {
    after.Call([done = std::move(done), status]() mutable { done(status); });
    return;
  }
  SharedBuffers::Ask ask{.rank = rank,
                         .sequence = request.sequence(),
                         .bytes = ByteCount{static_cast<size_t>(request.bytes())},
                         .timeout = *timeout,
                         .deadline = SteadyNow() + *timeout,
                         .done = std::move(done)};
  if ((*group)->shared().Add(std::move(ask), after) == SharedBuffers::Rendezvous::kComplete) {
    Queue((*group)->key().uid,
          Job{.generation = request.generation(), .shared_sequence = request.sequence()});
  }
  deadlines_changed_.SignalAll();
}

absl::Status RendezvousGroupRegistry::FreeShared(const Caller& caller,
                                                 const v1::FreeSharedRequest& request) {
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  const Rank rank{request.rank()};
  ABSL_ASSIGN_OR_RETURN(Group * group, FindHeld(caller, request.generation(), rank));
  absl::Status status = group->shared().Free(rank, request.sequence(), after);
  if (status.ok()) group->SaveRecord();
  return status;
}

absl::Status RendezvousGroupRegistry::Leave(const Caller& caller,
                                            const v1::LeaveGroupRequest& request) {
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  const Rank rank{request.rank()};
  ABSL_ASSIGN_OR_RETURN(Group * group, FindHeld(caller, request.generation(), rank));
  absl::Status status = group->Leave(rank, request.last_epoch(), after);
  EraseIfOver(*group, after);
  return status;
}

absl::Status RendezvousGroupRegistry::Abort(const Caller& caller,
                                            const v1::AbortGroupRequest& request) {
  if (request.join_attempt() != 0) {
    GiveUpJoin(caller, request.join_attempt(),
               request.reason().empty() ? "gave up its join" : request.reason());
    return absl::OkStatus();
  }
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  const Rank rank{request.rank()};
  ABSL_ASSIGN_OR_RETURN(Group * group, FindHeld(caller, request.generation(), rank));
  group->AbortBy(rank, GroupEnd::kMemberAborted,
                 request.reason().empty() ? "aborted the group" : request.reason(), after);
  return absl::OkStatus();
}

// --- ends

void RendezvousGroupRegistry::GiveUpJoin(const Caller& caller, uint64_t attempt,
                                         std::string_view cause) {
  if (attempt == 0) return;
  ForEach([&](Group& group, AfterUnlock& after) {
    group.GiveUpJoin(caller.session, attempt, cause, after);
  });
}

void RendezvousGroupRegistry::SessionDied(SessionId session, std::string_view cause) {
  {
    absl::MutexLock lock(&mu_);
    ended_.Add(session);
  }
  ForEach([&](Group& group, AfterUnlock& after) { group.SessionDied(session, cause, after); });
}

void RendezvousGroupRegistry::SessionEnded(SessionId session, std::string_view cause) {
  {
    absl::MutexLock lock(&mu_);
    ended_.Add(session);
  }
  ForEach([&](Group& group, AfterUnlock& after) { group.SessionEnded(session, cause, after); });
}

void RendezvousGroupRegistry::GpuLost(std::string_view gpu_uuid, std::string_view cause) {
  const std::string reason = absl::StrFormat("GPU %s is lost: %s", gpu_uuid, cause);
  ForEach([&](Group& group, AfterUnlock& after) {
    group.AbortOnGpu(gpu_uuid, GroupEnd::kGpuLost, reason, after);
  });
}

void RendezvousGroupRegistry::AbortOnGpu(std::string_view gpu_uuid, std::string_view reason) {
  ForEach([&](Group& group, AfterUnlock& after) {
    group.AbortOnGpu(gpu_uuid, GroupEnd::kDrained, reason, after);
  });
}

void RendezvousGroupRegistry::AbortAll(std::string_view reason) {
  ForEach([&](Group& group, AfterUnlock& after) {
    group.AbortFromOutside(GroupEnd::kDaemonStopping, reason, after);
  });
}

void RendezvousGroupRegistry::SetLimits(const Limits& limits) {
  absl::MutexLock lock(&mu_);
  limits_ = limits;
}

void RendezvousGroupRegistry::StopForming(std::string_view reason) {
  {
    absl::MutexLock lock(&mu_);
    forms_none_ = std::string(reason);
  }
  const absl::Status status = absl::UnavailableError(std::string(reason));
  ForEach([&](Group& group, AfterUnlock& after) {
    group.StopForming(GroupEnd::kDaemonStopping, status, after);
  });
}

void RendezvousGroupRegistry::LookAfterFiles() {
  ForEach([&](Group& group, AfterUnlock& after) {
    std::string news = group.LookAfterFiles(after);
    if (news.empty()) return;
    Report({.generation = group.generation(),
            .name = group.key().name,
            .uid = group.key().uid,
            .what = std::move(news)},
           after);
  });
}

absl::Status RendezvousGroupRegistry::AbortByAdmin(uint64_t generation, std::string_view reason) {
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  Group* const group = FindGroup(generation);
  if (group == nullptr) {
    return absl::NotFoundError(absl::StrFormat("no group has the generation %d", generation));
  }
  group->AbortFromOutside(GroupEnd::kAdministrator, reason, after);
  EraseIfOver(*group, after);
  return absl::OkStatus();
}

void RendezvousGroupRegistry::ForEach(const std::function<void(Group&, AfterUnlock&)>& act) {
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  for (auto it = groups_.begin(); it != groups_.end();) {
    act(*it->second, after);
    it = EraseIfOver(it, after);
  }
}

RendezvousGroupRegistry::Groups::iterator RendezvousGroupRegistry::EraseIfOver(
    Groups::iterator group, AfterUnlock& after) {
  if (!group->second->over()) return std::next(group);
  group->second->TellLeft(after);
  StopGathering(*group->second);
  ForgetJobs(*group->second);
  after.Destroy(std::move(group->second));
  return groups_.erase(group);
}

void RendezvousGroupRegistry::RunTimer() {
  while (true) {
    AfterUnlock after;
    absl::MutexLock lock(&mu_);
    if (stopping_) return;
    const SteadyTime next = Expire(SteadyNow(), after);
    // Whoever has something to be told is told before the next wait.
    if (after.empty()) deadlines_changed_.WaitUntil(&mu_, next);
  }
}

SteadyTime RendezvousGroupRegistry::Expire(SteadyTime now, AfterUnlock& after) {
  SteadyTime next = SteadyTime::InfiniteFuture();
  for (auto it = groups_.begin(); it != groups_.end();) {
    it->second->Expire(now, after);
    next = std::min(next, it->second->NextDeadline());
    it = EraseIfOver(it, after);
  }
  return next;
}

void RendezvousGroupRegistry::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    deadlines_changed_.SignalAll();
    jobs_changed_.SignalAll();
  }
  if (timer_.joinable()) timer_.join();
  if (allocator_.joinable()) allocator_.join();
  // No stop is written: communicators work on without the daemon.
  AfterUnlock after;
  absl::MutexLock lock(&mu_);
  for (auto& [generation, group] : groups_) {
    group->FailAllWaiting(absl::UnavailableError("the daemon is stopping"), after);
    // An orderly end has ended the sessions before, and with them all groups. This one goes on, for
    // a daemon that comes later: this one never served anybody.
    group->KeepFiles();
    after.Destroy(std::move(group));
  }
  gathering_.clear();
  groups_.clear();
}

std::vector<v1::GroupInfo> RendezvousGroupRegistry::List() const {
  absl::MutexLock lock(&mu_);
  const SteadyTime now = SteadyNow();
  std::vector<v1::GroupInfo> infos;
  for (const auto& [generation, group] : groups_) infos.push_back(group->Info(now));
  return infos;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GroupRegistry>> GroupRegistry::Create(Options options, Parts parts) {
  if (!options.groups_dir.empty() && access(options.groups_dir.c_str(), W_OK | X_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the directory for control pages, '%s', cannot be written to", options.groups_dir));
  }
  if (options.plane_bytes_default < kPlaneBytesUnit ||
      options.plane_bytes_default.value % kPlaneBytesUnit.value != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("planes of %u bytes by default: must be a multiple of 2 MiB and not 0",
                        options.plane_bytes_default.value));
  }
  auto registry = std::make_unique<RendezvousGroupRegistry>(std::move(options), parts);
  ABSL_RETURN_IF_ERROR(registry->Start());
  return registry;
}

}  // namespace nodecomm
