// A registry that comes after one that was killed: what it finds in the directory, it goes on with.

#include <google/protobuf/unknown_field_set.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fstream>

#include "daemon/group/control_page_file.h"
#include "daemon/group/group_record.h"
#include "tests/daemon/group/group_fixture.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// The page by both of its names, and the record.
constexpr size_t kFilesOfAGroup = 3;

class GroupRestart : public GroupTest {
 protected:
  // As a kill leaves it: the files stay, and everything in memory is gone. `sessions`: those whose
  // processes live.
  void KillAndRestart(
      const std::vector<SessionId>& sessions, const std::function<void()>& meanwhile = [] {}) {
    const std::string kept = dir_ + ".kept";
    std::filesystem::copy(dir_, kept);
    registry_ = nullptr;  // in order, which a kill is not
    std::filesystem::remove_all(dir_);
    std::filesystem::rename(kept, dir_);
    meanwhile();
    options_.sessions = sessions;
    Restart();
  }
  static std::vector<SessionId> SessionsOf(int ranks) {
    std::vector<SessionId> sessions;
    for (int rank = 0; rank < ranks; ++rank) sessions.push_back(CallerOf(rank).session);
    return sessions;
  }
  v1::GroupInfo OnlyGroup() const {
    const auto groups = registry_->List();
    EXPECT_THAT(groups, SizeIs(1));
    return groups.empty() ? v1::GroupInfo() : groups[0];
  }
};

TEST_F(GroupRestart, ReadyGroupGoesOn) {
  const Formed formed = FormReady(3);
  KillAndRestart(SessionsOf(3));
  const v1::GroupInfo group = OnlyGroup();
  EXPECT_EQ(group.generation(), formed.generation);
  EXPECT_EQ(group.state(), v1::GROUP_STATE_READY);
  EXPECT_EQ(group.name(), "tp");
  EXPECT_EQ(group.uid(), 1000u);
  EXPECT_EQ(group.members(2).pid(), 4002);
  EXPECT_EQ(group.members(2).gpu_uuid(), Uuid(2));
  EXPECT_EQ(BytesInUse(), 3 * (4_MiB).value) << "the members still map it";
}

TEST_F(GroupRestart, GroupTellsWhetherItHasTheFastPath) {
  FormReady(2);
  KillAndRestart(SessionsOf(2));
  EXPECT_TRUE(OnlyGroup().fast_path().supported());
}

TEST_F(GroupRestart, GroupTellsWhyItHasNoFastPath) {
  policy_.disabled = true;
  Restart();
  Join(Request(0, 2));
  EXPECT_FALSE(OnlyGroup().has_fast_path()) << "it is not decided";
  ASSERT_OK(Join(Request(1, 2)).Wait());
  EXPECT_EQ(OnlyGroup().fast_path().reason(), v1::FAST_PATH_REASON_DISABLED);
  KillAndRestart(SessionsOf(2));
  EXPECT_THAT(OnlyGroup().fast_path().detail(), HasSubstr("group.disable_fast_path"));
}

TEST_F(GroupRestart, DeathIsToldInThePageThatMembersHave) {
  const Formed formed = FormReady(2);
  KillAndRestart(SessionsOf(2));
  // The copy is what the new registry writes; a kill would have left the very file.
  registry_->SessionDied(CallerOf(1).session, "process 4001 has died");
  const v1::GroupInfo group = OnlyGroup();
  EXPECT_EQ(group.state(), v1::GROUP_STATE_ABORTED);
  EXPECT_THAT(group.abort_reason(), HasSubstr("rank 1"));
  EXPECT_THAT(group.abort_reason(), HasSubstr("process 4001 has died"));
  registry_->SessionEnded(CallerOf(1).session, "process 4001 has ended");
  EXPECT_OK(Leave(formed.generation, 0));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupRestart, MemberThatDiedMeanwhileEndsTheGroup) {
  const Formed formed = FormReady(2);
  options_.lost_sessions[CallerOf(1).session] = "process 4001 ended while the daemon was away";
  KillAndRestart({CallerOf(0).session});
  const v1::GroupInfo group = OnlyGroup();
  EXPECT_EQ(group.state(), v1::GROUP_STATE_ABORTED);
  EXPECT_THAT(group.abort_reason(), HasSubstr("process 4001 ended while the daemon was away"));
  EXPECT_OK(Leave(formed.generation, 0));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupRestart, MemberOfWhoseSessionNothingIsLeftEndsTheGroup) {
  FormReady(2);
  KillAndRestart({CallerOf(0).session});
  EXPECT_EQ(OnlyGroup().state(), v1::GROUP_STATE_ABORTED);
  EXPECT_THAT(OnlyGroup().abort_reason(), HasSubstr("no record of its session"));
}

TEST_F(GroupRestart, GroupOfTheDeadLeavesNothing) {
  FormReady(2);
  KillAndRestart({});
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupRestart, GroupThatWasFormingIsAborted) {
  const Formed formed = FormMapping(2);
  KillAndRestart(SessionsOf(2));
  EXPECT_EQ(OnlyGroup().state(), v1::GROUP_STATE_ABORTED);
  EXPECT_THAT(Confirm(formed.generation, 0).Wait(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("restarted")));
}

TEST_F(GroupRestart, WhoLeftStaysAwayAndWhoWasAbortedStaysSo) {
  const Formed left = FormReady(2, "left");
  ASSERT_OK(Leave(left.generation, 1, 5));
  const Formed aborted = FormReady(2, "aborted");
  ASSERT_OK(Abort(aborted.generation, 0, "no more"));
  KillAndRestart(SessionsOf(2));
  const auto groups = registry_->List();
  ASSERT_THAT(groups, SizeIs(2));
  EXPECT_EQ(groups[0].state(), v1::GROUP_STATE_READY);
  EXPECT_TRUE(groups[0].members(1).left());
  EXPECT_EQ(groups[1].state(), v1::GROUP_STATE_ABORTED);
  EXPECT_THAT(groups[1].abort_reason(), HasSubstr("no more"));
  EXPECT_THAT(Leave(left.generation, 1), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_OK(Leave(left.generation, 0, 6));
}

TEST_F(GroupRestart, SharedBuffersStayBookedUntilAllHaveFreedThem) {
  const Formed formed = FormReady(2);
  SharedAnswer& a = AllocateShared(formed.generation, 0, 4_MiB);
  SharedAnswer& b = AllocateShared(formed.generation, 1, 4_MiB);
  ASSERT_OK(a.Wait());
  ASSERT_OK(b.Wait());
  ASSERT_OK(FreeShared(formed.generation, 0));
  KillAndRestart(SessionsOf(2));
  EXPECT_EQ(BytesInUse(), 4 * (4_MiB).value);
  EXPECT_THAT(FreeShared(formed.generation, 0), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_OK(FreeShared(formed.generation, 1));
  EXPECT_EQ(BytesInUse(), 2 * (4_MiB).value);
}

TEST_F(GroupRestart, NewGroupsFormBesideTheOld) {
  const Formed before = FormReady(2);
  KillAndRestart(SessionsOf(2));
  const Formed next = FormReady(2);
  EXPECT_THAT(registry_->List(), SizeIs(2));
  EXPECT_GT(next.generation, before.generation);
}

// What a daemon that has yet to prove its GPUs does: everything but forming groups.
TEST_F(GroupRestart, GroupsAreServedBeforeNewOnesForm) {
  const Formed before = FormReady(2);
  options_.forming = GroupRegistry::Options::Forming::kLater;
  KillAndRestart(SessionsOf(2));
  JoinAnswer& a = Join(Request(0, 2));
  JoinAnswer& b = Join(Request(1, 2));
  SharedAnswer& shared_a = AllocateShared(before.generation, 0, 4_MiB);
  SharedAnswer& shared_b = AllocateShared(before.generation, 1, 4_MiB);
  EXPECT_OK(shared_a.Wait());
  EXPECT_OK(shared_b.Wait());
  EXPECT_FALSE(a.come()) << "its job was queued before that of the buffers";
  EXPECT_OK(Leave(before.generation, 1, 5));
  registry_->SessionDied(CallerOf(2).session, "a stranger");
  registry_->StartForming();
  EXPECT_OK(a.Wait());
  EXPECT_OK(b.Wait());
}

TEST_F(GroupRestart, WhoHasLeftHoldsNoSharedBufferAnyMore) {
  const Formed formed = FormReady(2);
  SharedAnswer& of_0 = AllocateShared(formed.generation, 0, 4_MiB);
  SharedAnswer& of_1 = AllocateShared(formed.generation, 1, 4_MiB);
  ASSERT_OK(of_0.Wait());
  ASSERT_OK(of_1.Wait());
  ASSERT_OK(Leave(formed.generation, 1, 5));
  KillAndRestart(SessionsOf(2));
  EXPECT_EQ(registry_->List().at(0).shared_bytes(), (4_MiB).value);
  EXPECT_OK(FreeShared(formed.generation, 0, 0));
  EXPECT_EQ(registry_->List().at(0).shared_bytes(), 0u);
}

TEST_F(GroupRestart, JoinsKeepTheirDeadlineWhileNoGroupForms) {
  options_.forming = GroupRegistry::Options::Forming::kLater;
  Restart();
  v1::JoinGroupRequest hasty = Request(0, 2);
  hasty.set_timeout_ms(50);
  JoinAnswer& a = Join(hasty);
  JoinAnswer& b = Join(Request(1, 2));
  for (JoinAnswer* answer : {&a, &b}) {
    EXPECT_THAT(answer->Wait(), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                         HasSubstr("still proves peer access")));
  }
  EXPECT_TRUE(NothingIsHeld());
  // The place is free again.
  JoinAnswer& c = Join(Request(0, 1));
  registry_->StartForming();
  EXPECT_OK(c.Wait());
}

TEST_F(GroupRestart, DamagedFilesAreRemovedAndHarmNobody) {
  const Formed formed = FormReady(2);
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(dir_ + "/" + name) << text;
  };
  write("group-0000000000000001.record", "garbage");
  write("group-0000000000000002.record", "");
  write("group-0000000000000003.control", "x");
  std::filesystem::create_symlink("/etc/passwd", dir_ + "/group-0000000000000004.record");
  // One whose name is another's.
  std::filesystem::copy_file(
      absl::StrCat(dir_, "/group-", absl::Hex(formed.generation, absl::kZeroPad16), ".record"),
      dir_ + "/group-0000000000000005.record");
  KillAndRestart(SessionsOf(2));
  EXPECT_EQ(OnlyGroup().generation(), formed.generation);
  EXPECT_EQ(ControlPageFiles(), kFilesOfAGroup);
}

TEST_F(GroupRestart, DirectoryInPlaceOfARecordIsToldOfOnce) {
  std::vector<GroupDamage> damages;
  options_.damaged = [&](const GroupDamage& damage) { damages.push_back(damage); };
  const std::string empty = dir_ + "/group-0000000000000001.record";
  const std::string full = dir_ + "/group-0000000000000002.record";
  std::filesystem::create_directory(empty);
  std::filesystem::create_directories(full + "/something");
  Restart();
  ASSERT_THAT(damages, SizeIs(2));
  if (damages[0].generation != 1) std::swap(damages[0], damages[1]);
  EXPECT_THAT(damages[0].what, HasSubstr(empty + " is a directory, not a file; it is removed"));
  EXPECT_THAT(damages[1].what, HasSubstr("it is now " + full + ".set-aside; remove that"));
  EXPECT_TRUE(std::filesystem::exists(full + ".set-aside/something"));
  Restart();
  EXPECT_THAT(damages, SizeIs(2));
}

// Whose record or page is damaged under the very page that members have mapped: they are told.
class DamagedGroup : public GroupRestart {
 protected:
  void SetUp() override {
    GroupRestart::SetUp();
    formed_ = FormReady(2);
    options_.damaged = [this](const GroupDamage& damage) { damages_.push_back(damage); };
    options_.sessions = SessionsOf(2);
    const std::string name =
        absl::StrCat("group-", absl::Hex(formed_.generation, absl::kZeroPad16));
    path_ = absl::StrCat(dir_, "/", name);
    spare_ = absl::StrCat(dir_, "/.", name, ".spare");
    page_ = std::make_unique<MappedPage>(formed_.page_fd(0));
    registry_ = nullptr;  // leaves the very files
  }

  Formed formed_;
  std::string path_;   // of the group's files, without their suffix
  std::string spare_;  // the page's second name
  std::unique_ptr<MappedPage> page_;
  std::vector<GroupDamage> damages_;
};

TEST_F(DamagedGroup, IsAbortedWithoutItsRecordsContent) {
  std::filesystem::resize_file(path_ + ".record", 0);
  Restart();
  EXPECT_NE((*page_)->stop, 0u);
  EXPECT_THAT((*page_)->reason, HasSubstr("record is damaged"));
  ASSERT_THAT(damages_, SizeIs(1));
  EXPECT_EQ(damages_[0].generation, formed_.generation);
  EXPECT_THAT(damages_[0].what, AllOf(HasSubstr(path_ + ".record"), HasSubstr("are told")));
  EXPECT_THAT(registry_->List(), IsEmpty());
  EXPECT_EQ(ControlPageFiles(), 0u);
}

TEST_F(DamagedGroup, IsAbortedWithoutItsRecord) {
  std::filesystem::remove(path_ + ".record");
  Restart();
  EXPECT_NE((*page_)->stop, 0u);
  EXPECT_THAT((*page_)->reason, HasSubstr("no record"));
  ASSERT_THAT(damages_, SizeIs(1));
  EXPECT_EQ(damages_[0].generation, formed_.generation);
  EXPECT_THAT(damages_[0].what, HasSubstr(path_ + ".control"));
}

TEST_F(DamagedGroup, IsAbortedAndStaysKnownWithoutItsPagesContent) {
  std::filesystem::resize_file(path_ + ".control", 0);
  Restart();
  EXPECT_NE((*page_)->stop, 0u) << "whole again";
  EXPECT_THAT((*page_)->reason, HasSubstr("is cut"));
  EXPECT_EQ(OnlyGroup().state(), v1::GROUP_STATE_ABORTED);
  EXPECT_EQ(BytesInUse(), 2 * (4_MiB).value) << "the members still map it";
  ASSERT_THAT(damages_, SizeIs(1));
  EXPECT_EQ(damages_[0].name, "tp");
  EXPECT_EQ(damages_[0].uid, 1000u);
  EXPECT_THAT(damages_[0].what, AllOf(HasSubstr(path_ + ".control"), HasSubstr("are told")));
}

TEST_F(DamagedGroup, IsAbortedWithoutRecordAndPageByTheSpare) {
  std::filesystem::remove(path_ + ".record");
  std::filesystem::remove(path_ + ".control");
  Restart();
  EXPECT_NE((*page_)->stop, 0u);
  EXPECT_THAT((*page_)->reason, HasSubstr("no record"));
  EXPECT_THAT(damages_, SizeIs(1));
  EXPECT_EQ(ControlPageFiles(), 0u);
}

TEST_F(DamagedGroup, GoesOnByTheSpareOfItsPage) {
  std::filesystem::remove(path_ + ".control");
  Restart();
  EXPECT_EQ(OnlyGroup().state(), v1::GROUP_STATE_READY);
  EXPECT_THAT(damages_, IsEmpty());
  registry_->SessionDied(CallerOf(1).session, "process 4001 has died");
  EXPECT_THAT((*page_)->reason, HasSubstr("process 4001 has died"));
}

TEST_F(DamagedGroup, OfAnEarlierVersionIsGivenASpare) {
  std::filesystem::remove(spare_);
  Restart();
  EXPECT_TRUE(std::filesystem::equivalent(spare_, path_ + ".control"));
}

// Until they are gone, and over every restart.
TEST_F(DamagedGroup, WhoseMembersCannotBeToldStaysKnown) {
  std::filesystem::remove(path_ + ".control");
  std::filesystem::remove(spare_);
  for (size_t restarts = 1; restarts <= 2; ++restarts) {
    Restart();
    registry_->LookAfterFiles();
    ASSERT_THAT(damages_, SizeIs(restarts));
    EXPECT_EQ(damages_.back().name, "tp");
    EXPECT_THAT(damages_.back().what,
                AllOf(HasSubstr(path_ + ".control was removed"), HasSubstr("restart them")));
    EXPECT_EQ(OnlyGroup().state(), v1::GROUP_STATE_READY);
    EXPECT_EQ(OnlyGroup().files_problem(), damages_.back().what);
  }
  registry_->SessionDied(CallerOf(1).session, "process 4001 has died");
  EXPECT_THAT(OnlyGroup().abort_reason(),
              AllOf(HasSubstr("process 4001 has died"), HasSubstr("other workers are not told")));
  for (const SessionId session : SessionsOf(2)) registry_->SessionEnded(session, "it has ended");
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(DamagedGroup, ThatWasAbortedBeforeIsNotReported) {
  Restart();
  ASSERT_OK(registry_->AbortByAdmin(formed_.generation, "by hand"));
  registry_ = nullptr;
  std::filesystem::remove(path_ + ".record");
  Restart();
  EXPECT_THAT((*page_)->reason, HasSubstr("by hand"));
  EXPECT_THAT(damages_, IsEmpty());
}

// Whose files are removed under the daemon that works with them.
class RobbedGroup : public DamagedGroup {
 protected:
  void SetUp() override {
    DamagedGroup::SetUp();
    Restart();
  }
};

TEST_F(RobbedGroup, HasItsRecordWrittenAgain) {
  registry_->LookAfterFiles();
  EXPECT_THAT(damages_, IsEmpty());
  std::filesystem::remove(path_ + ".record");
  registry_->LookAfterFiles();
  registry_->LookAfterFiles();
  ASSERT_THAT(damages_, SizeIs(1));
  EXPECT_EQ(damages_[0].generation, formed_.generation);
  EXPECT_EQ(damages_[0].name, "tp");
  EXPECT_THAT(damages_[0].what, AllOf(HasSubstr(path_ + ".record"), HasSubstr("is written again")));
  Restart();
  EXPECT_EQ(OnlyGroup().state(), v1::GROUP_STATE_READY);
}

TEST_F(RobbedGroup, HasItsPageAndRecordPutBack) {
  std::filesystem::remove(path_ + ".control");
  std::filesystem::remove(path_ + ".record");
  registry_->LookAfterFiles();
  registry_->LookAfterFiles();
  ASSERT_THAT(damages_, SizeIs(1));
  EXPECT_THAT(damages_[0].what, AllOf(HasSubstr(path_ + ".control was removed, and is put back"),
                                      HasSubstr(path_ + ".record was removed, and is written")));
  std::filesystem::remove(spare_);
  registry_->LookAfterFiles();
  EXPECT_TRUE(std::filesystem::equivalent(spare_, path_ + ".control"));
  Restart();
  registry_->SessionDied(CallerOf(1).session, "process 4001 has died");
  EXPECT_THAT((*page_)->reason, HasSubstr("process 4001 has died"));
}

TEST_F(RobbedGroup, HasItsRecordWrittenAgainThoughItsPageIsGone) {
  for (const std::string& file : {path_ + ".control", path_ + ".record", spare_}) {
    std::filesystem::remove(file);
  }
  registry_->LookAfterFiles();
  Restart();
  EXPECT_THAT(OnlyGroup().files_problem(), HasSubstr("its workers are not told of a death"));
}

TEST_F(RobbedGroup, IsToldOfOnceWhereItsPageIsGone) {
  std::filesystem::rename(path_ + ".control", path_ + ".away");
  std::filesystem::remove(spare_);
  registry_->LookAfterFiles();
  registry_->LookAfterFiles();
  ASSERT_THAT(damages_, SizeIs(1));
  EXPECT_THAT(damages_[0].what, AllOf(HasSubstr(path_ + ".control"), HasSubstr("goes on")));
  EXPECT_EQ(OnlyGroup().files_problem(), damages_[0].what);
  // Another file in its place is no page of this group.
  std::filesystem::copy(path_ + ".away", path_ + ".control");
  registry_->LookAfterFiles();
  EXPECT_EQ(OnlyGroup().files_problem(), damages_[0].what);
  std::filesystem::rename(path_ + ".away", path_ + ".control");
  registry_->LookAfterFiles();
  EXPECT_EQ(OnlyGroup().files_problem(), "");
  EXPECT_THAT(damages_, SizeIs(1));
}

TEST_F(RobbedGroup, EndsWhereItsPageWasCut) {
  std::filesystem::resize_file(path_ + ".control", 0);
  registry_->LookAfterFiles();
  const v1::GroupInfo group = OnlyGroup();
  EXPECT_EQ(group.state(), v1::GROUP_STATE_ABORTED);
  EXPECT_THAT(group.abort_reason(),
              AllOf(HasSubstr("cut its control page " + path_ + ".control to 0 bytes"),
                    HasSubstr("SIGBUS")));
  // Whoever has not read it meanwhile does not die of it, and is told.
  EXPECT_EQ(std::filesystem::file_size(path_ + ".control"), kControlPageBytes);
  EXPECT_EQ((*page_)->stop, 1u);
  EXPECT_EQ((*page_)->generation, formed_.generation);
}

TEST_F(RobbedGroup, NamesThePageThatWasCutWhereAMemberDied) {
  std::filesystem::resize_file(path_ + ".control", 0);
  registry_->SessionDied(CallerOf(1).session, "process 4001 has died");
  EXPECT_THAT(OnlyGroup().abort_reason(),
              AllOf(HasSubstr("process 4001 has died"),
                    HasSubstr("; somebody cut its control page"), HasSubstr("SIGBUS")));
  EXPECT_EQ((*page_)->stop, 1u);
}

TEST_F(RobbedGroup, IsToldOfOnceWhereItsRecordCannotBeWritten) {
  std::filesystem::remove(path_ + ".record");
  std::filesystem::create_directory(path_ + ".record.new");
  registry_->LookAfterFiles();
  registry_->LookAfterFiles();
  ASSERT_THAT(damages_, SizeIs(1));
  EXPECT_THAT(damages_[0].what, HasSubstr("cannot be written again"));
  std::filesystem::remove(path_ + ".record.new");
  registry_->LookAfterFiles();
  ASSERT_THAT(damages_, SizeIs(2));
  EXPECT_THAT(damages_[1].what, HasSubstr("is written again"));
  EXPECT_EQ(OnlyGroup().files_problem(), "");
}

TEST_F(GroupRestart, GroupOnAGpuThatIsGoneIsStopped) {
  FormReady(2);
  // A record that names a GPU which the pool does not have.
  std::vector<v1::GroupRecord> records = ReadGroupRecords(dir_)->records;
  ASSERT_THAT(records, SizeIs(1));
  records[0].mutable_members(1)->mutable_request()->set_gpu_uuid("GPU-gone");
  auto file = GroupRecordFile::Create(dir_, records[0]);
  ASSERT_OK(file);
  KillAndRestart(SessionsOf(2));
  EXPECT_THAT(registry_->List(), IsEmpty());
  EXPECT_EQ(BytesInUse(), 0u);
  EXPECT_EQ(ControlPageFiles(), 0u);
}

// A record that names a GPU that the host has lost: its members spin until they are told.
TEST_F(GroupRestart, MembersAreToldBeforeTheirGroupIsGivenUp) {
  const Formed formed = FormReady(2);
  const MappedPage page(formed.page_fd(0));
  std::vector<v1::GroupRecord> records = ReadGroupRecords(dir_)->records;
  ASSERT_THAT(records, SizeIs(1));
  records[0].mutable_members(1)->mutable_request()->set_gpu_uuid("GPU-gone");
  options_.sessions = SessionsOf(2);
  registry_ = nullptr;  // leaves the very page that is mapped
  auto file = GroupRecordFile::Create(dir_, records[0]);
  ASSERT_OK(file);
  (*file)->Keep();
  Restart();
  EXPECT_NE(page->stop, 0u);
  EXPECT_THAT(page->reason, HasSubstr("GPU-gone"));
}

// Whether a file is good can be told only once it has been read.
TEST_F(GroupRestart, RecordThatCannotBeReadNowIsKept) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become one who cannot read";
  const Formed formed = FormReady(2);
  const pid_t child = fork();
  if (child == 0) {
    if (chmod(dir_.c_str(), 0777) != 0 || setuid(60009) != 0) _exit(2);
    const auto found = ReadGroupRecords(dir_);
    if (!found.ok() || !found->records.empty()) _exit(3);
    _exit(found->unread.contains(formed.generation) ? 0 : 4);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(ControlPageFiles(), kFilesOfAGroup);
}

TEST_F(GroupRestart, DirectoryThatCannotBeListedIsNoEmptyOne) {
  FormReady(2);
  registry_ = nullptr;
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = dup(0);
  close(next);
  const rlimit none = {.rlim_cur = static_cast<rlim_t>(next), .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto registry = GroupRegistry::Create(options_, Parts());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(registry, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("listing")));
  EXPECT_EQ(ControlPageFiles(), kFilesOfAGroup);
}

TEST_F(GroupRestart, WhoLeftAGroupThatWasOverStaysAway) {
  const Formed formed = FormReady(2);
  ASSERT_OK(Abort(formed.generation, 0, "no more"));
  ASSERT_OK(Leave(formed.generation, 0));
  KillAndRestart(SessionsOf(2));
  EXPECT_TRUE(OnlyGroup().members(0).left());
  EXPECT_OK(Leave(formed.generation, 1));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupRestart, GenerationsGrowThoughTheClockWasSetBack) {
  const Formed formed = FormReady(2);
  v1::GroupRecord record = ReadGroupRecords(dir_)->records.at(0);
  const auto later = static_cast<uint64_t>(absl::ToUnixNanos(absl::Now() + absl::Hours(1)));
  record.set_generation(later);
  KillAndRestart(SessionsOf(2), [&] {
    auto page = ControlPageFile::Create(dir_, later);
    ASSERT_OK(page);
    (*page)->Keep();
    auto file = GroupRecordFile::Create(dir_, record);
    ASSERT_OK(file);
    (*file)->Keep();
  });
  EXPECT_THAT(registry_->List(), SizeIs(2));
  EXPECT_EQ(FormReady(2, "next").generation, later + 1);
  EXPECT_LT(formed.generation, later);
}

TEST_F(GroupRestart, RecordHoldsNothingThatThisVersionDoesNotKnow) {
  v1::JoinGroupRequest request = Request(0, 1);
  const size_t known = request.ByteSizeLong();
  const google::protobuf::Reflection* reflection = request.GetReflection();
  reflection->MutableUnknownFields(&request)->AddLengthDelimited(2000, std::string(30'000, 'x'));
  EXPECT_OK(Join(request).Wait());
  const std::vector<v1::GroupRecord> records = ReadGroupRecords(dir_)->records;
  ASSERT_THAT(records, SizeIs(1));
  // The plane size was filled in.
  EXPECT_LT(records[0].ByteSizeLong(), known + 100);
}

// As where the daemon's start fails later on, or where it is told to end before that.
TEST_F(GroupRestart, RegistryThatNeverServedLeavesTheGroupsToTheNext) {
  const Formed formed = FormReady(2);
  KillAndRestart(SessionsOf(2));
  Restart();  // ends the one that came back
  EXPECT_EQ(OnlyGroup().generation(), formed.generation);
  EXPECT_EQ(OnlyGroup().state(), v1::GROUP_STATE_READY);
}

TEST(GroupRecord, ImpossibleOnesAreRefused) {
  v1::GroupRecord good;
  good.set_generation(3);
  good.set_name("tp");
  for (int rank = 0; rank < 2; ++rank) {
    v1::JoinGroupRequest* request = good.add_members()->mutable_request();
    request->set_rank(rank);
    request->set_world_size(2);
  }
  ASSERT_OK(ParseGroupRecord(good.SerializeAsString()));
  const auto refused = [&](auto change) {
    v1::GroupRecord bad = good;
    change(bad);
    return !ParseGroupRecord(bad.SerializeAsString()).ok();
  };
  EXPECT_TRUE(refused([](auto& record) { record.clear_generation(); }));
  EXPECT_TRUE(refused([](auto& record) { record.clear_name(); }));
  EXPECT_TRUE(refused([](auto& record) { record.clear_members(); }));
  EXPECT_TRUE(
      refused([](auto& record) { record.mutable_members(1)->mutable_request()->set_rank(0); }));
  EXPECT_TRUE(refused(
      [](auto& record) { record.mutable_members(1)->mutable_request()->set_world_size(3); }));
  EXPECT_TRUE(refused([](auto& record) { record.add_shared()->set_held_by(4); }));
  EXPECT_TRUE(refused([](auto& record) {
    for (int i = 0; i < 9; ++i) record.add_members();
  }));
}

}  // namespace
}  // namespace nodecomm
