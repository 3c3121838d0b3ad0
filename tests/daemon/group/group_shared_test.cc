// Shared buffers of a group.

#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "daemon/group/shared_buffers.h"
#include "tests/daemon/group/group_fixture.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kPlanes = 2 * (4_MiB).value;  // of a group of two

class GroupShared : public GroupTest {
 protected:
  void Allocate(uint64_t generation, uint64_t sequence, ByteCount bytes) {
    SharedAnswer& first = AllocateShared(generation, 0, bytes, sequence);
    ASSERT_OK(AllocateShared(generation, 1, bytes, sequence).Wait());
    ASSERT_OK(first.Wait());
  }
};

TEST_F(GroupShared, GivesEveryRankAllBuffersInRankOrder) {
  const Formed formed = FormReady(2);
  SharedAnswer& first = AllocateShared(formed.generation, 0, ByteCount{(2_MiB).value + 1});
  EXPECT_FALSE(first.come());
  SharedAnswer& second = AllocateShared(formed.generation, 1, ByteCount{(2_MiB).value + 1});
  ASSERT_OK(first.Wait());
  ASSERT_OK(second.Wait());
  EXPECT_EQ(first.Wait()->bytes(), (4_MiB).value);
  std::vector<std::vector<ino_t>> inodes;
  for (SharedAnswer* answer : {&first, &second}) {
    const auto transfer = courier_.Take(answer->Wait()->transfer_id());
    EXPECT_EQ(transfer.session, CallerOf(answer == &first ? 0 : 1).session);
    ASSERT_EQ(transfer.fds.size(), 2u);
    std::vector<ino_t>& files = inodes.emplace_back();
    for (const UniqueFd& fd : transfer.fds) {
      struct stat status = {};
      ASSERT_EQ(fstat(fd.get(), &status), 0);
      EXPECT_EQ(static_cast<size_t>(status.st_size), (4_MiB).value);
      files.push_back(status.st_ino);
    }
  }
  EXPECT_EQ(inodes[0], inodes[1]);
  EXPECT_NE(inodes[0][0], inodes[0][1]);
  EXPECT_EQ(BytesInUse(), kPlanes + 2 * (4_MiB).value);
  EXPECT_EQ(registry_->List().at(0).shared_bytes(), (4_MiB).value);
}

TEST_F(GroupShared, BytesAreFreeWhenAllRanksHaveFreed) {
  const Formed formed = FormReady(2);
  Allocate(formed.generation, 0, 2_MiB);
  Allocate(formed.generation, 1, 6_MiB);
  ASSERT_OK(FreeShared(formed.generation, 0, 0));
  EXPECT_EQ(BytesInUse(), kPlanes + 2 * (8_MiB).value);
  EXPECT_THAT(FreeShared(formed.generation, 0, 0),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("rank 0 holds no shared buffer 0")));
  ASSERT_OK(FreeShared(formed.generation, 1, 0));
  EXPECT_EQ(BytesInUse(), kPlanes + 2 * (6_MiB).value);
  EXPECT_THAT(FreeShared(formed.generation, 1, 9), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK(FreeShared(formed.generation, 0, 1));
  ASSERT_OK(FreeShared(formed.generation, 1, 1));
  EXPECT_EQ(BytesInUse(), kPlanes);
}

TEST_F(GroupShared, EveryKindOfEndReturnsAllBytes) {
  {
    const Formed left = FormReady(2, "left");
    Allocate(left.generation, 0, 2_MiB);
    ASSERT_OK(FreeShared(left.generation, 1, 0));
    ASSERT_OK(Leave(left.generation, 0));
    EXPECT_EQ(BytesInUse(), kPlanes) << "rank 1 had freed, rank 0 has left";
    ASSERT_OK(Leave(left.generation, 1));
    EXPECT_TRUE(NothingIsHeld());
  }
  {
    const Formed aborted = FormReady(2, "aborted");
    Allocate(aborted.generation, 0, 2_MiB);
    ASSERT_OK(Abort(aborted.generation, 0, "enough"));
    EXPECT_EQ(BytesInUse(), kPlanes + 2 * (2_MiB).value) << "they may still be mapped";
    ASSERT_OK(FreeShared(aborted.generation, 0, 0));
    ASSERT_OK(Leave(aborted.generation, 0));
    ASSERT_OK(Leave(aborted.generation, 1));
    EXPECT_TRUE(NothingIsHeld());
  }
  const Formed ended = FormReady(2, "ended");
  Allocate(ended.generation, 0, 2_MiB);
  registry_->SessionEnded(CallerOf(0).session, "process 4000 has ended");
  registry_->SessionEnded(CallerOf(1).session, "process 4001 has ended");
  EXPECT_TRUE(NothingIsHeld());
}

TEST_F(GroupShared, DisagreementOnBytesFailsAllWhoWait) {
  const Formed formed = FormReady(3);
  SharedAnswer& first = AllocateShared(formed.generation, 0, 2_MiB);
  SharedAnswer& second = AllocateShared(formed.generation, 1, 2_MiB);
  const auto reason = StatusIs(absl::StatusCode::kFailedPrecondition,
                               AllOf(HasSubstr("shared buffer 0"), HasSubstr("rank 0 says 2097152"),
                                     HasSubstr("rank 2 says 4194304")));
  EXPECT_THAT(AllocateShared(formed.generation, 2, 4_MiB).Wait(), reason);
  EXPECT_THAT(first.Wait(), reason);
  EXPECT_THAT(second.Wait(), reason);
  EXPECT_EQ(BytesInUse(), 3 * (4_MiB).value);
}

TEST_F(GroupShared, SequencesAreIndependentRendezvous) {
  const Formed formed = FormReady(2);
  SharedAnswer& first = AllocateShared(formed.generation, 0, 2_MiB, 0);
  SharedAnswer& other = AllocateShared(formed.generation, 1, 4_MiB, 1);
  EXPECT_FALSE(first.come());
  EXPECT_FALSE(other.come());
  ASSERT_OK(AllocateShared(formed.generation, 1, 2_MiB, 0).Wait());
  EXPECT_OK(first.Wait());
  EXPECT_FALSE(other.come());
}

TEST_F(GroupShared, DeadlineNamesTheMissingRanks) {
  const Formed formed = FormReady(3);
  EXPECT_THAT(
      AllocateShared(formed.generation, 1, 2_MiB, 4, absl::Milliseconds(20)).Wait(),
      StatusIs(absl::StatusCode::kDeadlineExceeded,
               "ranks 0, 2 of 3 did not ask for shared buffer 4 of group 'tp' within 20ms"));
  EXPECT_EQ(registry_->List().at(0).state(), v1::GROUP_STATE_READY) << "the group itself is well";
}

TEST_F(GroupShared, BadAsksAreTheCallersAlone) {
  const Formed formed = FormReady(2);
  const auto invalid = StatusIs(absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(AllocateShared(formed.generation, 0, ByteCount{0}).Wait(), invalid);
  EXPECT_THAT(AllocateShared(formed.generation, 0, 2_MiB, 0, -absl::Seconds(1)).Wait(), invalid);
  SharedAnswer& waiting = AllocateShared(formed.generation, 0, 2_MiB);
  EXPECT_THAT(AllocateShared(formed.generation, 0, 2_MiB).Wait(), invalid);
  EXPECT_FALSE(waiting.come());
  ASSERT_OK(AllocateShared(formed.generation, 1, 2_MiB).Wait());
  EXPECT_OK(waiting.Wait());
  EXPECT_THAT(AllocateShared(formed.generation, 1, 2_MiB).Wait(), invalid) << "it has it already";
}

TEST_F(GroupShared, BuffersAreBounded) {
  const Formed formed = FormReady(2);
  // Two that both hold, one of them freed by rank 0; four that rank 1 asks for, the rest rank 0.
  for (uint64_t i = 0; i < 2; ++i) {
    AllocateShared(formed.generation, 0, 2_MiB, i);
    ASSERT_OK(AllocateShared(formed.generation, 1, 2_MiB, i).Wait());
  }
  ASSERT_OK(FreeShared(formed.generation, 0, 0));
  for (uint64_t i = 2; i < kSharedBuffersMax; ++i) {
    AllocateShared(formed.generation, i < 6 ? 1 : 0, 2_MiB, i);
  }
  const auto full = [](int rank, int held) {
    return StatusIs(absl::StatusCode::kResourceExhausted,
                    absl::StrCat("group 'tp' has 64 shared buffers already, of at most 64, and "
                                 "rank ",
                                 rank, " holds or waits for ", held, " of them; free some"));
  };
  EXPECT_THAT(AllocateShared(formed.generation, 0, 2_MiB, kSharedBuffersMax).Wait(), full(0, 59));
  EXPECT_THAT(AllocateShared(formed.generation, 1, 2_MiB, kSharedBuffersMax).Wait(), full(1, 6));
}

TEST_F(GroupShared, GroupMustBeReadyAndComplete) {
  const Formed mapping = FormMapping(2, "mapping");
  EXPECT_THAT(AllocateShared(mapping.generation, 0, 2_MiB).Wait(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not ready")));
  const Formed left = FormReady(2, "left");
  SharedAnswer& waiting = AllocateShared(left.generation, 0, 2_MiB, 0);
  ASSERT_OK(Leave(left.generation, 1));
  const auto has_left =
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rank 1 has left"));
  EXPECT_THAT(waiting.Wait(), has_left);
  EXPECT_THAT(AllocateShared(left.generation, 0, 2_MiB, 1).Wait(), has_left);
  const Formed aborted = FormReady(2, "aborted");
  SharedAnswer& stopped = AllocateShared(aborted.generation, 0, 2_MiB, 0);
  ASSERT_OK(Abort(aborted.generation, 1, "enough"));
  const auto is_over = StatusIs(absl::StatusCode::kAborted, HasSubstr("enough"));
  EXPECT_THAT(stopped.Wait(), is_over);
  EXPECT_THAT(AllocateShared(aborted.generation, 0, 2_MiB, 1).Wait(), is_over);
}

TEST_F(GroupShared, FailedAllocationFailsAllRanksAndGivesTheOthersBack) {
  const Formed formed = FormReady(2);
  source_.FailCalls(1, 1, absl::ResourceExhaustedError("the GPU is full"));
  SharedAnswer& first = AllocateShared(formed.generation, 0, 2_MiB);
  const auto full = StatusIs(absl::StatusCode::kResourceExhausted,
                             "the GPU is full; of the daemon's bytes on GPU GPU-1, 4194304 are in "
                             "use and 0 ready or being made, of at most 1073741824; ask for less, "
                             "or end other groups or programs that hold its memory (nvidia-smi). "
                             "User 1000 holds 4194304, 4194304 bytes on the group's GPUs in rank "
                             "order");
  EXPECT_THAT(AllocateShared(formed.generation, 1, 2_MiB).Wait(), full);
  EXPECT_THAT(first.Wait(), full);
  EXPECT_TRUE(Eventually([&] { return BytesInUse() == kPlanes; }));
  Allocate(formed.generation, 1, 2_MiB);
}

TEST_F(GroupShared, EndOfAMemberWhileMemoryIsMadeFailsTheAskAndKeepsNothing) {
  const Formed formed = FormReady(2);
  source_.Hold();
  const int calls = source_.calls();
  SharedAnswer& first = AllocateShared(formed.generation, 0, 2_MiB);
  SharedAnswer& second = AllocateShared(formed.generation, 1, 2_MiB);
  source_.WaitForCalls(calls + 1);
  registry_->SessionEnded(CallerOf(1).session, "process 4001 has ended");
  EXPECT_THAT(first.Wait(), StatusIs(absl::StatusCode::kAborted, HasSubstr("process 4001")));
  EXPECT_THAT(second.Wait(), StatusIs(absl::StatusCode::kAborted));
  source_.LetGo();
  ASSERT_OK(Leave(formed.generation, 0));
  EXPECT_TRUE(NothingIsHeld());
  EXPECT_EQ(courier_.untaken(), 0u);
}

// Memory is made by one thread.
TEST_F(GroupShared, UserWithManyRequestsForMemoryHoldsUpOthersByOneEach) {
  options_.threads = GroupRegistry::Options::Threads::kCallers;
  Restart();
  const auto ask_for_many = [&](int rank) {
    Caller caller = CallerOf(rank);
    caller.uid = 1000 + static_cast<uid_t>(rank);
    JoinAnswer& join = Join(Request(0, 1), caller);
    registry_->RunDue(SteadyNow());
    ASSERT_OK(join.Wait());
    ASSERT_OK(Confirm(join.Wait()->generation(), 0, caller).Wait());
    for (uint64_t i = 0; i < 20; ++i) {
      AllocateShared(join.Wait()->generation(), 0, 2_MiB, i, absl::Hours(1), caller);
    }
  };
  ask_for_many(0);
  const auto made = [&] {
    return std::count_if(shareds_.begin(), shareds_.end(),
                         [](const auto& shared) { return shared->come(); });
  };
  // Another user asks while the first one's buffers are made, in whatever order of uids.
  std::map<uid_t, int64_t> made_before;
  for (const uid_t uid : {999u, 1001u}) {
    Caller other = CallerOf(7);
    other.uid = uid;
    registry_->Join(other, Request(0, 1), [&made_before, made, uid](const auto& joined) {
      EXPECT_OK(joined);
      made_before[uid] = made();
    });
  }
  registry_->RunDue(SteadyNow());
  EXPECT_EQ(made(), 20);
  EXPECT_LE(made_before.at(999), 1);
  EXPECT_LE(made_before.at(1001), 1);
}

}  // namespace
}  // namespace nodecomm
