// How groups come to be, or do not.

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/daemon/group/group_fixture.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

class GroupJoin : public GroupTest {};

TEST_F(GroupJoin, AnswersAllWhenAllHaveJoined) {
  JoinAnswer& second = Join(Request(1, 2));
  EXPECT_FALSE(second.come());
  JoinAnswer& first = Join(Request(0, 2));
  ASSERT_OK(first.Wait());
  ASSERT_OK(second.Wait());
  const v1::JoinGroupResponse& response = *first.Wait();
  EXPECT_NE(response.generation(), 0u);
  EXPECT_EQ(response.generation(), second.Wait()->generation());
  EXPECT_NE(response.transfer_id(), second.Wait()->transfer_id());
  EXPECT_EQ(response.plane_bytes(), (4_MiB).value);
  EXPECT_EQ(response.fast_path().supported(), second.Wait()->fast_path().supported());
  ASSERT_EQ(response.members_size(), 2);
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(response.members(rank).rank(), rank);
    EXPECT_EQ(response.members(rank).gpu_uuid(), Uuid(rank));
    EXPECT_EQ(response.members(rank).pid(), 4000 + rank);
    EXPECT_EQ(response.members(rank).multiprocessors(), 132);
  }
}

// The same files in the same order for everybody, each under a descriptor of its own.
TEST_F(GroupJoin, SendsEveryMemberAllPlanesInRankOrderThenThePage) {
  const Formed formed = FormMapping(3);
  std::vector<std::vector<ino_t>> inodes;
  for (int rank = 0; rank < 3; ++rank) {
    const auto& transfer = formed.transfers[static_cast<size_t>(rank)];
    EXPECT_EQ(transfer.session, CallerOf(rank).session);
    ASSERT_EQ(transfer.fds.size(), 4u);
    std::vector<ino_t>& files = inodes.emplace_back();
    for (const UniqueFd& fd : transfer.fds) {
      struct stat status = {};
      ASSERT_EQ(fstat(fd.get(), &status), 0);
      EXPECT_NE(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
      files.push_back(status.st_ino);
    }
    EXPECT_EQ(MappedPage(formed.page_fd(rank))->generation, formed.generation);
  }
  EXPECT_EQ(inodes[0], inodes[1]);
  EXPECT_EQ(inodes[0], inodes[2]);
  EXPECT_EQ(std::set<ino_t>(inodes[0].begin(), inodes[0].end()).size(), 4u);
  EXPECT_EQ(BytesInUse(), 3 * (4_MiB).value);
}

TEST_F(GroupJoin, WithoutFastPathIsTheReasonAndAPageButNoMemory) {
  policy_.trust_driver = false;
  Restart();
  const Formed formed = FormReady(2);
  EXPECT_EQ(BytesInUse(), 0u);
  for (const FakeFdCourier::Transfer& transfer : formed.transfers) {
    EXPECT_EQ(transfer.fds.size(), 1u);
  }
  for (const v1::JoinGroupResponse& response : formed.responses) {
    EXPECT_FALSE(response.fast_path().supported());
    EXPECT_EQ(response.fast_path().reason(), v1::FAST_PATH_REASON_UNPROVEN);
    EXPECT_THAT(response.fast_path().detail(), HasSubstr("NCCL"));
  }
}

TEST_F(GroupJoin, MigInstanceIsToldThatItIsOne) {
  v1::Host host = host_.host();
  host.mutable_gpus(1)->set_mig_mode(v1::MIG_MODE_ENABLED);
  host.mutable_gpus(1)->set_pci_bus_id("00000000:1B:00.0");
  host_.Update(host);
  v1::JoinGroupRequest instance = Request(1, 2);
  instance.set_gpu_uuid("GPU-of-a-mig-instance");
  instance.set_pci_bus_id("0000:1b:00.0");
  JoinAnswer& waiting = Join(instance);
  const auto& response = Join(Request(0, 2)).Wait();
  ASSERT_OK(response);
  ASSERT_OK(waiting.Wait());
  EXPECT_EQ(response->fast_path().reason(), v1::FAST_PATH_REASON_MIG);
  EXPECT_EQ(response->members(1).gpu_uuid(), Uuid(1));
}

TEST_F(GroupJoin, PlaceOnTheBusNamesNoWholeGpu) {
  v1::Host host = host_.host();
  host.mutable_gpus(1)->set_pci_bus_id("00000000:1B:00.0");
  host_.Update(host);
  v1::JoinGroupRequest stranger = Request(1, 2);
  stranger.set_gpu_uuid("GPU-of-another-host");
  stranger.set_pci_bus_id("0000:1b:00.0");
  EXPECT_THAT(Join(stranger).Wait(), StatusIs(kInvalid, HasSubstr("GPU-of-another-host")));
}

TEST_F(GroupJoin, GoesByTheProofsAsTheyAreNow) {
  policy_.trust_driver = false;
  Restart();
  for (const auto& [from, to] : {std::pair(0, 1), std::pair(1, 0)}) {
    v1::PeerProof proof;
    proof.set_from_uuid(Uuid(from));
    proof.set_to_uuid(Uuid(to));
    proof.set_verdict(v1::PROOF_VERDICT_PROVEN);
    host_.SetProof(proof);
  }
  EXPECT_TRUE(FormMapping(2).responses[0].fast_path().supported());
}

TEST_F(GroupJoin, KeepsUsersFromGpusOfOthers) {
  users_ = {{Uuid(0), {1000}}, {Uuid(1), {2000}}};
  Restart();
  EXPECT_THAT(Join(Request(1, 2)).Wait(),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr(Uuid(1)), HasSubstr("gpu_access"))));
  const Caller root = {.session = {9}, .uid = 0, .pid = 4009};
  EXPECT_THAT(Join(Request(0, 2), root).Wait(), StatusIs(absl::StatusCode::kPermissionDenied, _));
  EXPECT_FALSE(Join(Request(0, 2)).come());  // it waits for the other rank
}

TEST_F(GroupJoin, OneRankIsAGroupToo) {
  const Formed formed = FormReady(1);
  EXPECT_EQ(formed.transfers[0].fds.size(), 2u);
  ASSERT_OK(Leave(formed.generation, 0));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupJoin, OneProcessMayHoldSeveralRanks) {
  JoinAnswer& first = Join(Request(0, 2), CallerOf(0));
  JoinAnswer& second = Join(Request(1, 2), CallerOf(0));
  ASSERT_OK(first.Wait());
  ASSERT_OK(second.Wait());
  for (JoinAnswer* answer : {&first, &second}) {
    const auto transfer = courier_.Take(answer->Wait()->transfer_id());
    EXPECT_EQ(transfer.session, CallerOf(0).session);
    EXPECT_EQ(transfer.fds.size(), 3u);
  }
}

TEST_F(GroupJoin, EveryFormationHasItsOwnGeneration) {
  const Formed first = FormReady(2);
  const Formed second = FormReady(2);  // the same name, while the first still lives
  EXPECT_NE(first.generation, second.generation);
  EXPECT_EQ(registry_->List().size(), 2u);
  Restart();
  EXPECT_GT(FormReady(2).generation, second.generation);
}

TEST_F(GroupJoin, NameKeyAndUserKeepGroupsApart) {
  v1::JoinGroupRequest other_name = Request(1, 2);
  other_name.set_name("other");
  v1::JoinGroupRequest other_key = Request(1, 2);
  other_key.set_key(std::string(16, 'k'));
  Caller other_user = CallerOf(1);
  other_user.uid = 1001;
  JoinAnswer& waiting = Join(Request(0, 2));
  Join(other_name);
  Join(other_key);
  Join(Request(1, 2), other_user);
  EXPECT_EQ(registry_->List().size(), 4u);
  EXPECT_FALSE(waiting.come());
  ASSERT_OK(Join(Request(1, 2)).Wait());
  EXPECT_OK(waiting.Wait());
}

TEST_F(GroupJoin, ZeroPlaneBytesMeanTheDefaultBeforeValuesAreCompared) {
  JoinAnswer& first = Join(Request(0, 2));
  v1::JoinGroupRequest explicit_size = Request(1, 2);
  explicit_size.set_plane_bytes((4_MiB).value);
  ASSERT_OK(Join(explicit_size).Wait());
  EXPECT_OK(first.Wait());
}

TEST_F(GroupJoin, WrongRequestIsTheCallersAlone) {
  JoinAnswer& waiting = Join(Request(0, 2));
  v1::JoinGroupRequest bad = Request(1, 2);
  bad.set_gpu_uuid("GPU-unknown");
  EXPECT_THAT(Join(bad).Wait(), StatusIs(kInvalid, HasSubstr("GPU-unknown")));
  v1::JoinGroupRequest impatient = Request(1, 2);
  impatient.set_timeout_ms(-5);
  EXPECT_THAT(Join(impatient).Wait(), StatusIs(kInvalid, HasSubstr("-5 ms")));
  EXPECT_FALSE(waiting.come());
  ASSERT_OK(Join(Request(1, 2)).Wait());
  EXPECT_OK(waiting.Wait());
}

TEST_F(GroupJoin, MoreRanksThanGpusFailAtOnce) {
  EXPECT_THAT(Join(Request(0, 5)).Wait(),
              StatusIs(kPrecondition, HasSubstr("this host has 4 GPUs, so a group of 5 ranks")));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupJoin, DuplicateRankIsToldWhoHasItAndTheGroupWaitsOn) {
  JoinAnswer& waiting = Join(Request(0, 2));
  EXPECT_THAT(Join(Request(0, 2), CallerOf(3)).Wait(),
              StatusIs(kInvalid, AllOf(HasSubstr("rank 0"), HasSubstr("process 4000"))));
  EXPECT_FALSE(waiting.come());
  ASSERT_OK(Join(Request(1, 2)).Wait());
  EXPECT_OK(waiting.Wait());
}

TEST_F(GroupJoin, DisagreementFailsAllWhoWaitForTheSameReason) {
  JoinAnswer& first = Join(Request(0, 3));
  JoinAnswer& second = Join(Request(1, 3));
  v1::JoinGroupRequest other_abi = Request(2, 3);
  other_abi.set_plane_abi(2);
  const auto reason =
      StatusIs(kPrecondition, AllOf(HasSubstr("rank 0 says 1"), HasSubstr("rank 2 says 2")));
  EXPECT_THAT(Join(other_abi).Wait(), reason);
  EXPECT_THAT(first.Wait(), reason);
  EXPECT_THAT(second.Wait(), reason);
  EXPECT_TRUE(NothingIsHeld());
  FormReady(3);  // the name is free again
}

TEST_F(GroupJoin, DifferentWorldSizeIsADisagreementWhateverTheRank) {
  JoinAnswer& first = Join(Request(0, 2));
  EXPECT_THAT(
      Join(Request(3, 4)).Wait(),
      StatusIs(kPrecondition, AllOf(HasSubstr("rank 0 says 2"), HasSubstr("rank 3 says 4"))));
  EXPECT_THAT(first.Wait(), StatusIs(kPrecondition));
}

TEST_F(GroupJoin, TwoRanksOnOneGpuFailTheGroupUnlessSharingIsAllowed) {
  v1::JoinGroupRequest same_gpu = Request(1, 2);
  same_gpu.set_gpu_uuid(Uuid(0));
  JoinAnswer& first = Join(Request(0, 2));
  EXPECT_THAT(Join(same_gpu).Wait(),
              StatusIs(kPrecondition, AllOf(HasSubstr("ranks 0 and 1"), HasSubstr(Uuid(0)))));
  EXPECT_THAT(first.Wait(), StatusIs(kPrecondition));

  policy_.allow_gpu_sharing = true;
  Restart();
  JoinAnswer& shared = Join(Request(0, 2));
  ASSERT_OK(Join(same_gpu).Wait());
  ASSERT_OK(shared.Wait());
  EXPECT_EQ(FormReady(8, "eight").responses.size(), 8u);
}

TEST_F(GroupJoin, DeadlineNamesTheMissingRanks) {
  v1::JoinGroupRequest hasty = Request(0, 4);
  hasty.set_timeout_ms(20);
  JoinAnswer& patient = Join(Request(1, 4));
  JoinAnswer& first = Join(hasty);
  const auto timeout = StatusIs(absl::StatusCode::kDeadlineExceeded,
                                "ranks 2, 3 of 4 did not join group 'tp' within 20ms");
  EXPECT_THAT(first.Wait(), timeout);
  EXPECT_THAT(patient.Wait(), timeout);
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupJoin, DefaultDeadlineComesFromTheOptions) {
  options_.limits.rendezvous_timeout_default = absl::Milliseconds(10);
  Restart();
  EXPECT_THAT(Join(Request(0, 2)).Wait(),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       "rank 1 of 2 did not join group 'tp' within 10ms"));
}

TEST_F(GroupJoin, SessionThatEndsFreesItsPlaceAndTheOthersWaitOn) {
  JoinAnswer& patient = Join(Request(2, 3));
  JoinAnswer& ending = Join(Request(1, 3));
  registry_->SessionEnded(CallerOf(1).session, "process 4001 has ended");
  EXPECT_THAT(ending.Wait(), StatusIs(absl::StatusCode::kCancelled, HasSubstr("4001 has ended")));
  JoinAnswer& third = Join(Request(0, 3));
  EXPECT_FALSE(patient.come());
  EXPECT_FALSE(third.come());
  ASSERT_OK(Join(Request(1, 3), CallerOf(3)).Wait());  // another process takes the place
  EXPECT_OK(patient.Wait());
  EXPECT_OK(third.Wait());
}

TEST_F(GroupJoin, LastWaitingSessionsEndLeavesNothing) {
  Join(Request(0, 2));
  registry_->SessionEnded(CallerOf(0).session, "process 4000 has ended");
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupJoin, JoinThatComesAfterItsSessionsEndIsRefused) {
  registry_->SessionEnded(CallerOf(0).session, "process 4000 has ended");
  EXPECT_THAT(Join(Request(0, 2)).Wait(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupJoin, SessionThatEndsWhileMemoryIsMadeFailsTheOthersAtOnce) {
  source_.Hold();
  JoinAnswer& first = Join(Request(0, 2));
  JoinAnswer& second = Join(Request(1, 2));
  source_.WaitForCalls(1);
  EXPECT_EQ(registry_->List().at(0).state(), v1::GROUP_STATE_MAPPING);
  registry_->SessionEnded(CallerOf(1).session, "process 4001 has ended");
  EXPECT_THAT(second.Wait(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(first.Wait(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("rank 1 (process 4001)")));
  source_.LetGo();
  EXPECT_TRUE(NothingIsHeld());
  EXPECT_EQ(courier_.untaken(), 0u);
}

// A caller whose connection broke, or that stopped waiting, and whose session goes on.
class GivenUpJoin : public GroupJoin {
 protected:
  static v1::JoinGroupRequest Attempt(uint64_t attempt, int rank) {
    v1::JoinGroupRequest request = Request(rank, 2);
    request.set_attempt(attempt);
    return request;
  }
};

TEST_F(GivenUpJoin, IsThatOfItsSessionAlone) {
  JoinAnswer& patient = Join(Attempt(1, 0));
  registry_->GiveUpJoin(CallerOf(1), 1, "gave up");  // another session's attempt
  registry_->GiveUpJoin(CallerOf(0), 2, "gave up");  // none that there is
  EXPECT_FALSE(patient.come());
  EXPECT_OK(Join(Attempt(1, 1)).Wait());
  EXPECT_OK(patient.Wait());
}

TEST_F(GivenUpJoin, FreesItsPlaceAlsoForItsOwnSession) {
  JoinAnswer& given_up = Join(Attempt(1, 1));
  registry_->GiveUpJoin(CallerOf(1), 1, "gave up");
  EXPECT_THAT(given_up.Wait(),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("rank 1 (process 4001): gave up")));
  EXPECT_TRUE(NothingIsHeld());
  JoinAnswer& again = Join(Attempt(2, 1));
  registry_->GiveUpJoin(CallerOf(1), 1, "gave up");
  EXPECT_OK(Join(Attempt(1, 0)).Wait());
  EXPECT_OK(again.Wait());
}

TEST_F(GivenUpJoin, WhileMemoryIsMadeFailsTheOthersAtOnce) {
  source_.Hold();
  JoinAnswer& other = Join(Attempt(1, 0));
  Join(Attempt(1, 1));
  source_.WaitForCalls(1);
  registry_->GiveUpJoin(CallerOf(1), 1, "gave up");
  EXPECT_THAT(other.Wait(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("rank 1 (process 4001): gave up")));
  source_.LetGo();
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GivenUpJoin, WithMemoryEndsItsGroupAtOnceAndHoldsNothing) {
  JoinAnswer& other = Join(Attempt(1, 0));
  JoinAnswer& lost = Join(Attempt(5, 1));
  ASSERT_OK(lost.Wait());
  const uint64_t generation = other.Wait()->generation();
  ConfirmAnswer& confirmed = Confirm(generation, 0);
  v1::AbortGroupRequest request;
  request.set_join_attempt(5);
  request.set_reason("has no answer");
  ASSERT_OK(registry_->Abort(CallerOf(1), request));
  EXPECT_THAT(confirmed.Wait(), StatusIs(absl::StatusCode::kAborted,
                                         HasSubstr("rank 1 (process 4001): has no answer")));
  EXPECT_OK(Leave(generation, 0));
  EXPECT_TRUE(NothingIsHeld());
  EXPECT_OK(registry_->Abort(CallerOf(1), request)) << "it may be told twice";
}

TEST_F(GivenUpJoin, WhoHasConfirmedHadItsAnswer) {
  JoinAnswer& other = Join(Attempt(1, 0));
  JoinAnswer& first = Join(Attempt(2, 1));
  const uint64_t generation = other.Wait()->generation();
  ASSERT_OK(first.Wait());
  ConfirmAnswer& confirmed = Confirm(generation, 1);
  registry_->GiveUpJoin(CallerOf(1), 2, "gave up");
  EXPECT_OK(Confirm(generation, 0).Wait());
  EXPECT_OK(confirmed.Wait());
}

TEST_F(GroupJoin, GroupsAreBounded) {
  options_.limits.groups_max = 3;
  Restart();
  Join(Request(0, 2));
  Caller another_user = CallerOf(7);
  another_user.uid = 1001;
  v1::JoinGroupRequest other = Request(1, 2);
  for (const char* name : {"a", "b"}) {
    other.set_name(name);
    EXPECT_FALSE(Join(other, another_user).come());
  }
  other.set_name("other");
  EXPECT_THAT(Join(other).Wait(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "this daemon has 3 groups already, of at most 3, and user 1000 has 1 of "
                       "them; end some, or raise limits.groups_max"));
  // As after a reload.
  GroupRegistry::Limits limits = options_.limits;
  limits.groups_max = 2;
  registry_->SetLimits(limits);
  EXPECT_THAT(Join(other).Wait(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("has 3 groups already, of at most 2, and user 1000 has 1 of")));
  EXPECT_OK(Join(Request(1, 2)).Wait());
}

// The first, a middle and the last plane.
class FailingPlane : public GroupTest, public ::testing::WithParamInterface<int> {};

TEST_P(FailingPlane, FailsAllMembersWithThePoolsStatusAndGivesTheOthersBack) {
  source_.FailCalls(GetParam(), 1, absl::UnavailableError("the allocator died"));
  std::vector<JoinAnswer*> answers;
  for (int rank = 0; rank < 4; ++rank) answers.push_back(&Join(Request(rank, 4)));
  for (JoinAnswer* answer : answers) {
    EXPECT_THAT(answer->Wait(), StatusIs(absl::StatusCode::kUnavailable, "the allocator died"));
  }
  EXPECT_TRUE(NothingIsHeld());
  EXPECT_EQ(courier_.untaken(), 0u);
  FormReady(4);
}

INSTANTIATE_TEST_SUITE_P(EachOfFour, FailingPlane, ::testing::Range(0, 4));

TEST_F(GroupJoin, PlanesOverTheLimitAreRefusedWithTheAccount) {
  v1::JoinGroupRequest request = Request(0, 1);
  request.set_plane_bytes((2048_MiB).value);
  EXPECT_THAT(Join(request).Wait(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("at most 1073741824")));
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupJoin, ControlPageThatCannotBeMadeFailsAll) {
  std::filesystem::remove_all(dir_);
  JoinAnswer& first = Join(Request(0, 2));
  EXPECT_THAT(Join(Request(1, 2)).Wait(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(dir_)));
  EXPECT_THAT(first.Wait(), StatusIs(absl::StatusCode::kUnavailable));
  std::filesystem::create_directory(dir_);
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupJoin, ListShowsWhoIsThereAndWhoIsMissing) {
  Join(Request(1, 3));
  const auto groups = registry_->List();
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].name(), "tp");
  EXPECT_EQ(groups[0].uid(), 1000u);
  EXPECT_EQ(groups[0].state(), v1::GROUP_STATE_GATHERING);
  EXPECT_EQ(groups[0].world_size(), 3);
  EXPECT_EQ(groups[0].plane_bytes(), (4_MiB).value);
  ASSERT_EQ(groups[0].members_size(), 1);
  EXPECT_EQ(groups[0].members(0).rank(), 1);
  EXPECT_EQ(groups[0].members(0).pid(), 4001);
  ASSERT_EQ(groups[0].missing_ranks_size(), 2);
  EXPECT_EQ(groups[0].missing_ranks(0), 0);
  EXPECT_EQ(groups[0].missing_ranks(1), 2);
}

TEST_F(GroupJoin, StopOfTheDaemonAnswersAllWhoWait) {
  JoinAnswer& waiting = Join(Request(0, 2));
  registry_ = nullptr;
  EXPECT_THAT(waiting.Wait(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
}

TEST_F(GroupJoin, OptionsThatMakeNoSenseAreRefused) {
  options_.groups_dir = dir_ + "/none";
  EXPECT_THAT(GroupRegistry::Create(options_, Parts()),
              StatusIs(kPrecondition, HasSubstr(dir_ + "/none")));
  options_.groups_dir = dir_;
  options_.plane_bytes_default = 1_MiB;
  EXPECT_THAT(GroupRegistry::Create(options_, Parts()), StatusIs(kInvalid));
}

TEST_F(GroupJoin, GroupsAreLimitedByUser) {
  options_.limits.groups_per_uid_max = 2;
  options_.limits.groups_max = 9;
  Restart();
  Join(Request(0, 2));
  v1::JoinGroupRequest another = Request(0, 2);
  another.set_name("second");
  Join(another);
  Caller other = CallerOf(1);
  other.uid = 1001;
  for (const char* name : {"a", "b"}) {
    another.set_name(name);
    EXPECT_FALSE(Join(another, other).come()) << "another user's groups do not count";
  }
  another.set_name("third");
  EXPECT_THAT(Join(another).Wait(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "user 1000 has 2 groups already, of at most 2, and this daemon 4 in all, of "
                       "at most 9; end some, or raise limits.groups_per_uid_max"));
  // As after a reload.
  GroupRegistry::Limits limits = options_.limits;
  limits.groups_per_uid_max = 1;
  registry_->SetLimits(limits);
  EXPECT_THAT(Join(another).Wait(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("user 1000 has 2 groups already, of at most 1, and this daemon 4 "
                                 "in all, of at most 9")));
}

TEST_F(GroupJoin, LimitsMayChangeMeanwhile) {
  Join(Request(0, 2));
  GroupRegistry::Limits limits = options_.limits;
  limits.groups_max = 1;
  registry_->SetLimits(limits);
  v1::JoinGroupRequest second = Request(0, 1);
  second.set_name("second");
  EXPECT_THAT(Join(second).Wait(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("limits.groups_max")));
  limits.groups_max = 2;
  registry_->SetLimits(limits);
  EXPECT_OK(Join(second).Wait());
  EXPECT_OK(Join(Request(1, 2)).Wait()) << "the group that was there goes on";
}

TEST_F(GroupJoin, BytesOnAGpuAreLimitedByUser) {
  options_.limits.bytes_per_gpu_per_uid_max = 10_MiB;
  planes_ready_ = 3;
  Restart();
  FormReady(2, "first");  // planes have 4
  // For others, and elsewhere, there is room.
  Caller other = CallerOf(7);
  other.uid = 1001;
  v1::JoinGroupRequest request = Request(0, 1);
  request.set_plane_bytes((10_MiB).value);
  EXPECT_OK(Join(request, other).Wait());
  request.set_name("second");
  request.set_plane_bytes((8_MiB).value);
  ASSERT_TRUE(pool_->WaitUntilFilled(kLong));
  EXPECT_THAT(Join(request).Wait(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "user 1000 asks for 1 x 8388608 bytes on GPU GPU-0 and holds 4194304 there, "
                       "of at most 10485760 (pool.bytes_per_gpu_per_uid_max); ask for less, or end "
                       "other groups. Of all users' bytes there, 14680064 are in use and 12582912 "
                       "ready or being made, of at most 1073741824"));
  request.set_gpu_uuid(Uuid(3));
  EXPECT_OK(Join(request).Wait());
}

// Such a group has no planes, but may ask for shared buffers all the same.
TEST_F(GroupJoin, SharedBuffersOfAGroupWithoutFastPathCountToo) {
  policy_.disabled = true;
  options_.limits.bytes_per_gpu_per_uid_max = 4_MiB;
  Restart();
  const Formed formed = FormReady(2);
  EXPECT_EQ(BytesInUse(), 0u);
  SharedAnswer& first = AllocateShared(formed.generation, 0, 4_MiB, 0);
  EXPECT_OK(AllocateShared(formed.generation, 1, 4_MiB, 0).Wait());
  EXPECT_OK(first.Wait());
  EXPECT_TRUE(registry_->List()[0].holds_memory());
  AllocateShared(formed.generation, 0, 2_MiB, 1);
  EXPECT_THAT(AllocateShared(formed.generation, 1, 2_MiB, 1).Wait(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("holds 4194304 there")));
  registry_->AbortOnGpu(Uuid(1), "drained");
  EXPECT_EQ(registry_->List()[0].state(), v1::GROUP_STATE_ABORTED) << "or a drain waits for ever";
}

}  // namespace
}  // namespace nodecomm
