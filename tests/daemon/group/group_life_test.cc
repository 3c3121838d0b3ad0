// What happens to a group once its members have their memory: confirm, leave, abort, end.

#include <sys/stat.h>

#include <set>

#include "tests/daemon/group/group_fixture.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class GroupLife : public GroupTest {
 protected:
  v1::GroupInfo OnlyGroup() const {
    const auto groups = registry_->List();
    EXPECT_EQ(groups.size(), 1u);
    return groups.empty() ? v1::GroupInfo() : groups[0];
  }
};

TEST_F(GroupLife, ConfirmIsARendezvousOfItsOwn) {
  const Formed formed = FormMapping(2);
  EXPECT_EQ(OnlyGroup().state(), v1::GROUP_STATE_MAPPING);
  ConfirmAnswer& first = Confirm(formed.generation, 1);
  EXPECT_FALSE(first.come());
  ASSERT_EQ(OnlyGroup().missing_ranks_size(), 1);
  EXPECT_EQ(OnlyGroup().missing_ranks(0), 0);
  EXPECT_OK(Confirm(formed.generation, 0).Wait());
  EXPECT_OK(first.Wait());
  EXPECT_EQ(OnlyGroup().state(), v1::GROUP_STATE_READY);
  EXPECT_EQ(OnlyGroup().missing_ranks_size(), 0);
}

TEST_F(GroupLife, SecondConfirmIsRefused) {
  const Formed formed = FormMapping(2);
  ConfirmAnswer& first = Confirm(formed.generation, 0);
  EXPECT_THAT(Confirm(formed.generation, 0).Wait(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("already")));
  EXPECT_FALSE(first.come());
}

TEST_F(GroupLife, MappingThatTakesTooLongAbortsTheGroup) {
  options_.mapping_timeout_min = options_.mapping_timeout_max = absl::Milliseconds(20);
  Restart();
  const Formed formed = FormMapping(3);
  const MappedPage page(formed.page_fd(0));
  EXPECT_THAT(Confirm(formed.generation, 0).Wait(),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       "ranks 1, 2 of 3 did not map the memory of group 'tp' within 20ms"));
  ASSERT_TRUE(Eventually([&] { return page->stop != 0; }));
  EXPECT_EQ(page->culprit_rank, -1);
  EXPECT_THAT(page->reason, HasSubstr("ranks 1, 2 of 3"));
  EXPECT_THAT(Confirm(formed.generation, 1).Wait(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("ranks 1, 2 of 3")));
  for (int rank = 0; rank < 3; ++rank) EXPECT_OK(Leave(formed.generation, rank));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupLife, MappingMayTakeAsLongAsTheLeastPatientRankWaits) {
  options_.mapping_timeout_min = absl::Milliseconds(10);
  Restart();
  const auto join = [this](int rank, absl::Duration timeout) -> JoinAnswer& {
    v1::JoinGroupRequest request = Request(rank, 2);
    request.set_timeout_ms(absl::ToInt64Milliseconds(timeout));
    return Join(request);
  };
  JoinAnswer& patient = join(0, absl::Hours(1));
  ASSERT_OK(join(1, absl::Milliseconds(500)).Wait());
  EXPECT_THAT(Confirm(patient.Wait()->generation(), 0).Wait(),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       "rank 1 of 2 did not map the memory of group 'tp' within 500ms"));
}

TEST_F(GroupLife, OneRankThatDoesNotMapIsTheCulprit) {
  options_.mapping_timeout_min = options_.mapping_timeout_max = absl::Milliseconds(20);
  Restart();
  const Formed formed = FormMapping(2);
  const MappedPage page(formed.page_fd(0));
  EXPECT_THAT(Confirm(formed.generation, 0).Wait(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 1 of 2")));
  EXPECT_EQ(page->culprit_rank, 1);
  EXPECT_EQ(page->culprit_pid, 4001);
}

TEST_F(GroupLife, LeaveIsToldInThePageAndIsNoAbort) {
  const Formed formed = FormReady(2);
  const MappedPage page(formed.page_fd(0));
  ASSERT_OK(Leave(formed.generation, 1, 77));
  EXPECT_EQ(page->left_mask, 2u);
  EXPECT_EQ(page->left_epoch[1], 77u);
  EXPECT_EQ(page->stop, 0u);
  EXPECT_EQ(OnlyGroup().state(), v1::GROUP_STATE_READY);
  EXPECT_TRUE(OnlyGroup().members(1).left());
  EXPECT_FALSE(OnlyGroup().members(0).left());
  EXPECT_EQ(BytesInUse(), 2 * (4_MiB).value) << "the other member still holds both planes";
  ASSERT_OK(Leave(formed.generation, 0, 78));
  EXPECT_TRUE(NothingIsHeld());
  EXPECT_EQ(page->left_mask, 3u);
}

TEST_F(GroupLife, WhoHasLeftHoldsNothingAnyMore) {
  const Formed formed = FormReady(2);
  ASSERT_OK(Leave(formed.generation, 1));
  EXPECT_THAT(Leave(formed.generation, 1), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Abort(formed.generation, 1, "late"), StatusIs(absl::StatusCode::kNotFound));
  const MappedPage page(formed.page_fd(0));
  registry_->SessionEnded(CallerOf(1).session, "process 4001 has ended");
  EXPECT_EQ(page->stop, 0u) << "the end of who has left is no abort";
  ASSERT_OK(Leave(formed.generation, 0));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupLife, LeaveBeforeTheGroupIsReadyAbortsIt) {
  const Formed formed = FormMapping(2);
  ConfirmAnswer& waiting = Confirm(formed.generation, 0);
  ASSERT_OK(Leave(formed.generation, 1));
  EXPECT_THAT(waiting.Wait(),
              StatusIs(absl::StatusCode::kAborted,
                       AllOf(HasSubstr("rank 1 (process 4001)"), HasSubstr("left"))));
  EXPECT_NE(MappedPage(formed.page_fd(0))->stop, 0u);
  ASSERT_OK(Leave(formed.generation, 0));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupLife, AbortStopsEverybodyAndNamesTheCause) {
  const Formed formed = FormReady(3);
  const MappedPage page(formed.page_fd(0));
  ASSERT_OK(Abort(formed.generation, 2, "timed out waiting for rank 1"));
  EXPECT_NE(page->stop, 0u);
  EXPECT_EQ(page->culprit_rank, 2);
  EXPECT_EQ(page->culprit_pid, 4002);
  EXPECT_STREQ(page->reason, "rank 2 (process 4002): timed out waiting for rank 1");
  EXPECT_EQ(OnlyGroup().state(), v1::GROUP_STATE_ABORTED);
  EXPECT_EQ(OnlyGroup().abort_reason(), "rank 2 (process 4002): timed out waiting for rank 1");
  EXPECT_THAT(Confirm(formed.generation, 0).Wait(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("timed out waiting for rank 1")));
}

TEST_F(GroupLife, LostGpuEndsItsGroupsAndNoOthers) {
  const Formed formed = FormReady(2);
  v1::JoinGroupRequest elsewhere = Request(0, 1);
  elsewhere.set_name("elsewhere");
  elsewhere.set_gpu_uuid(Uuid(3));
  const auto& other = Join(elsewhere).Wait();
  ASSERT_OK(other);
  JoinAnswer& gathering = Join([] {
    v1::JoinGroupRequest request = Request(1, 3);
    request.set_name("gathering");
    return request;
  }());
  registry_->GpuLost(Uuid(1), "Xid 79");
  const MappedPage page(formed.page_fd(0));
  EXPECT_NE(page->stop, 0u);
  EXPECT_EQ(page->culprit_rank, 1);
  EXPECT_THAT(page->reason, AllOf(HasSubstr(Uuid(1)), HasSubstr("Xid 79")));
  EXPECT_THAT(gathering.Wait(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("Xid 79")));
  EXPECT_OK(Confirm(other->generation(), 0).Wait());
}

// Its memory is on that GPU for as long as the others have it mapped.
TEST_F(GroupLife, GpuOfARankThatHasLeftEndsTheGroupToo) {
  for (const bool is_lost : {true, false}) {
    const Formed formed = FormReady(2);
    ASSERT_OK(Leave(formed.generation, 1));
    if (is_lost) {
      registry_->GpuLost(Uuid(1), "Xid 79");
    } else {
      registry_->AbortOnGpu(Uuid(1), "is drained");
    }
    const MappedPage page(formed.page_fd(0));
    EXPECT_NE(page->stop, 0u);
    EXPECT_EQ(page->culprit_rank, 1);
    EXPECT_THAT(page->reason, HasSubstr(is_lost ? "Xid 79" : "is drained"));
    ASSERT_OK(Leave(formed.generation, 0));
    EXPECT_TRUE(NothingIsHeld());
  }
}

TEST_F(GroupLife, FirstAbortIsTheCauseForGood) {
  const Formed formed = FormReady(2);
  ASSERT_OK(Abort(formed.generation, 0, "first"));
  ASSERT_OK(Abort(formed.generation, 1, "second"));
  EXPECT_THAT(OnlyGroup().abort_reason(), HasSubstr("first"));
  EXPECT_STREQ(MappedPage(formed.page_fd(0))->reason, "rank 0 (process 4000): first");
}

TEST_F(GroupLife, MemoryOfAnAbortedGroupIsHeldUntilTheLastMemberHasGone) {
  const Formed formed = FormReady(3);
  ASSERT_OK(Abort(formed.generation, 0, "enough"));
  EXPECT_EQ(BytesInUse(), 3 * (4_MiB).value);
  ASSERT_OK(Leave(formed.generation, 0));
  ASSERT_OK(Leave(formed.generation, 1));
  EXPECT_EQ(BytesInUse(), 3 * (4_MiB).value);
  registry_->SessionEnded(CallerOf(2).session, "process 4002 has ended");
  EXPECT_TRUE(NothingIsHeld());
}

// What it keeps is its own affair (daemon/README.md, "threat model"); what counts is what groups
// have.
TEST_F(GroupLife, WhoKeepsDescriptorsOfGroupsItLeftGetsFreshPlanesUpToItsQuota) {
  options_.limits.bytes_per_gpu_per_uid_max = 8_MiB;  // planes have 4
  Restart();
  std::vector<Formed> kept;
  std::set<ino_t> planes;
  const auto form = [&](const std::string& name) {
    kept.push_back(FormReady(1, name));
    struct stat plane = {};
    EXPECT_EQ(fstat(kept.back().transfers[0].fds[0].get(), &plane), 0);
    EXPECT_TRUE(planes.insert(plane.st_ino).second) << "was handed out before";
    return kept.back().generation;
  };
  for (int i = 0; i < 10; ++i) {
    ASSERT_OK(Leave(form("left"), 0));
    EXPECT_TRUE(NothingIsHeld());
  }
  const uint64_t first = form("first");
  form("second");
  v1::JoinGroupRequest third = Request(0, 1);
  third.set_name("third");
  EXPECT_THAT(Join(third).Wait(), StatusIs(absl::StatusCode::kResourceExhausted));
  // An end that leaves the memory with a member gives nothing back.
  ASSERT_OK(registry_->AbortByAdmin(first, "enough"));
  EXPECT_THAT(Join(third).Wait(), StatusIs(absl::StatusCode::kResourceExhausted));
  ASSERT_OK(Leave(first, 0));
  EXPECT_OK(Join(third).Wait());
}

TEST_F(GroupLife, AbortWhileMappingAnswersWhoWaits) {
  const Formed formed = FormMapping(2);
  ConfirmAnswer& waiting = Confirm(formed.generation, 0);
  ASSERT_OK(Abort(formed.generation, 1, "cannot map"));
  EXPECT_THAT(waiting.Wait(), StatusIs(absl::StatusCode::kAborted, HasSubstr("cannot map")));
}

TEST_F(GroupLife, EndOfAMembersSessionAbortsAReadyGroup) {
  const Formed formed = FormReady(2);
  const MappedPage page(formed.page_fd(0));
  registry_->SessionEnded(CallerOf(1).session, "process 4001 has ended");
  EXPECT_NE(page->stop, 0u);
  EXPECT_EQ(page->culprit_rank, 1);
  EXPECT_EQ(page->culprit_pid, 4001);
  EXPECT_STREQ(page->reason, "rank 1 (process 4001): process 4001 has ended");
  EXPECT_TRUE(OnlyGroup().members(1).left());
  EXPECT_EQ(BytesInUse(), 2 * (4_MiB).value);
  ASSERT_OK(Leave(formed.generation, 0));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupLife, EndOfAMembersSessionAbortsAMappingGroup) {
  const Formed formed = FormMapping(2);
  ConfirmAnswer& waiting = Confirm(formed.generation, 0);
  ConfirmAnswer& gone = Confirm(FormMapping(2, "other").generation, 1);
  registry_->SessionEnded(CallerOf(1).session, "process 4001 has ended");
  EXPECT_THAT(waiting.Wait(), StatusIs(absl::StatusCode::kAborted, HasSubstr("process 4001")));
  EXPECT_THAT(gone.Wait(), StatusIs(absl::StatusCode::kAborted));
  registry_->SessionEnded(CallerOf(0).session, "process 4000 has ended");
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupLife, ProcessWithAllRanksLeavesNothingWhenItEnds) {
  Join(Request(0, 2), CallerOf(0));
  ASSERT_OK(Join(Request(1, 2), CallerOf(0)).Wait());
  registry_->SessionEnded(CallerOf(0).session, "process 4000 has ended");
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupLife, GroupsOfOthersAreNotFound) {
  const Formed formed = FormReady(2);
  const Caller stranger{.session = {99}, .uid = 1000, .pid = 99};
  const auto not_found = StatusIs(absl::StatusCode::kNotFound);
  EXPECT_THAT(Confirm(formed.generation, 0, stranger).Wait(), not_found);
  EXPECT_THAT(Leave(formed.generation, 0, 0, stranger), not_found);
  EXPECT_THAT(Abort(formed.generation, 0, "mine", stranger), not_found);
  EXPECT_THAT(AllocateShared(formed.generation, 0, 2_MiB, 0, kLong, stranger).Wait(), not_found);
  EXPECT_THAT(FreeShared(formed.generation, 0, 0, stranger), not_found);
  // A member has no say over another rank, nor over ranks that do not exist.
  EXPECT_THAT(Abort(formed.generation, 1, "yours", CallerOf(0)), not_found);
  EXPECT_THAT(Abort(formed.generation, 2, "none", CallerOf(0)), not_found);
  EXPECT_THAT(Abort(formed.generation, -1, "none", CallerOf(0)), not_found);
  // The message for a group that is and for one that is not differ in nothing but the number.
  EXPECT_EQ(Leave(7, 0, 0, stranger).message(),
            "process 99 holds no rank 0 in a group of generation 7");
  EXPECT_EQ(MappedPage(formed.page_fd(0))->stop, 0u);
}

TEST_F(GroupLife, GatheringGroupsCannotBeAddressed) {
  Join(Request(0, 2));
  const uint64_t generation = OnlyGroup().generation();
  EXPECT_THAT(Abort(generation, 0, "early"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Leave(generation, 0), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(GroupLife, StopOfTheDaemonWritesNoStop) {
  const Formed formed = FormReady(2);
  const Formed mapping = FormMapping(2, "other");
  ConfirmAnswer& waiting = Confirm(mapping.generation, 0);
  const MappedPage page(formed.page_fd(0));
  registry_ = nullptr;
  EXPECT_THAT(waiting.Wait(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(page->stop, 0u) << "communicators work on without the daemon";
  EXPECT_EQ(BytesInUse(), 0u);
}

TEST_F(GroupLife, DeathAbortsAtOnceAndMemoryIsKeptUntilTheEnd) {
  const Formed formed = FormReady(2);
  const MappedPage page(formed.page_fd(1));
  registry_->SessionDied(CallerOf(0).session, "process 4000 has died");
  EXPECT_EQ(page->stop, 1u);
  EXPECT_EQ(page->culprit_rank, 0);
  EXPECT_THAT(page->reason, HasSubstr("process 4000 has died"));
  EXPECT_EQ(BytesInUse(), 2 * (4_MiB).value) << "the dying process may still write there";
  // A new generation need not wait for that.
  v1::JoinGroupRequest request = Request(0, 2);
  JoinAnswer& again = Join(request, CallerOf(7));
  JoinAnswer& other = Join(Request(1, 2));
  EXPECT_OK(again.Wait());
  EXPECT_OK(other.Wait());
  registry_->SessionEnded(CallerOf(0).session, "process 4000 has ended");
  EXPECT_OK(Leave(formed.generation, 1));
  EXPECT_TRUE(Eventually([&] { return registry_->List().size() == 1; }));
}

TEST_F(GroupLife, DeathWhileJoiningFreesThePlace) {
  JoinAnswer& dead = Join(Request(0, 2));
  registry_->SessionDied(CallerOf(0).session, "process 4000 has died");
  EXPECT_THAT(dead.Wait(), StatusIs(absl::StatusCode::kCancelled));
  JoinAnswer& again = Join(Request(0, 2), CallerOf(7));
  JoinAnswer& other = Join(Request(1, 2));
  EXPECT_OK(again.Wait());
  EXPECT_OK(other.Wait());
  EXPECT_THAT(Join(Request(0, 2)).Wait(), StatusIs(absl::StatusCode::kCancelled))
      << "of a dead process";
}

}  // namespace
}  // namespace nodecomm
