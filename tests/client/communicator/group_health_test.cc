#include "client/communicator/group_health.h"

#include <string>
#include <string_view>

#include "tests/support/status_matchers.h"

namespace nodecomm::client {
namespace {

using ::absl_testing::StatusIs;
using kernels::FailureRecord;
using ::testing::HasSubstr;

class GroupHealthTest : public ::testing::Test {
 protected:
  void StopFor(std::string_view reason) {
    reason.copy(page_.reason, sizeof(page_.reason));
    page_.stop = 1;
  }

  ControlPage page_ = {};
  FailureRecord failure_ = {};
  const GroupHealth health_{Rank{1}, &page_, &failure_};
};

TEST_F(GroupHealthTest, IsOkAtFirst) {
  EXPECT_OK(health_.Check());
  EXPECT_EQ(health_.OwnFinding(), std::nullopt);
}

TEST_F(GroupHealthTest, StopIsAnAbortWithTheDaemonsReason) {
  StopFor("rank 3 (process 42): process 42 has ended");
  EXPECT_THAT(health_.Check(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("process 42 has ended")));
}

TEST_F(GroupHealthTest, ReasonWithoutItsZeroIsBounded) {
  StopFor(std::string(sizeof(page_.reason), 'x'));
  EXPECT_LT(health_.Check().message().size(), sizeof(page_.reason) + 100);
}

TEST_F(GroupHealthTest, TimeoutNamesTheMissingRankAndTheCall) {
  failure_ = {.state = FailureRecord::kTimeout, .epoch = 17, .missing_rank = 2};
  EXPECT_THAT(health_.Check(), StatusIs(absl::StatusCode::kAborted,
                                        "rank 2 did not come in time at call (epoch) 17"));
  EXPECT_EQ(health_.OwnFinding(), "rank 2 did not come in time at call (epoch) 17");
}

TEST_F(GroupHealthTest, OverlapNamesThisRankAndSaysWhatToDo) {
  failure_ = {.state = FailureRecord::kOverlap, .epoch = 17, .missing_rank = -1};
  EXPECT_THAT(health_.Check(),
              StatusIs(absl::StatusCode::kAborted,
                       HasSubstr("two all-reduces of rank 1 overlapped at call (epoch) 17")));
  EXPECT_THAT(health_.Check(), StatusIs(absl::StatusCode::kAborted, HasSubstr("events")));
  EXPECT_EQ(health_.OwnFinding(), health_.Check().message());
}

TEST_F(GroupHealthTest, CheckedModeNamesCallsByTheirNumber) {
  failure_ = {.state = FailureRecord::kTimeout, .epoch = 20, .missing_rank = 2, .sequence = 17};
  EXPECT_EQ(health_.OwnFinding(), "rank 2 did not come in time at all-reduce no. 17");
  failure_.state = FailureRecord::kStopped;
  EXPECT_THAT(health_.Check(), StatusIs(absl::StatusCode::kAborted,
                                        HasSubstr("gave the group up at all-reduce no. 17")));
}

TEST_F(GroupHealthTest, MismatchSaysWhatBothRanksCallTheLowerFirst) {
  const kernels::CallFacts eight_kib = {.bytes = 8192, .type = 2};
  const kernels::CallFacts four_gib = {.bytes = uint64_t{4} << 30, .type = 0};
  failure_ = {.state = FailureRecord::kMismatch,
              .missing_rank = 2,
              .sequence = 17,
              .own = eight_kib,
              .other = four_gib};
  constexpr char kBelow[] =
      "rank 1 calls all-reduce no. 17 with 8192 bytes of bfloat16, but rank 2 with 4294967296 "
      "bytes "
      "of float32";
  EXPECT_THAT(health_.Check(), StatusIs(absl::StatusCode::kAborted, kBelow));
  EXPECT_EQ(health_.OwnFinding(), kBelow);
  failure_.missing_rank = 0;
  EXPECT_EQ(health_.OwnFinding(),
            "rank 0 calls all-reduce no. 17 with 4294967296 bytes of float32, but rank 1 with 8192 "
            "bytes of bfloat16");
  failure_.other.type = 77;
  EXPECT_THAT(*health_.OwnFinding(), HasSubstr("bytes of type 77"));
}

TEST_F(GroupHealthTest, WhatThePeersSeeThemselvesIsNoFindingOfThisRank) {
  for (const uint32_t state : {FailureRecord::kStopped, FailureRecord::kLeft}) {
    failure_ = {.state = state, .epoch = 17, .missing_rank = 2};
    EXPECT_EQ(health_.OwnFinding(), std::nullopt);
  }
}

TEST_F(GroupHealthTest, TheDaemonsReasonComesFirst) {
  failure_ = {.state = FailureRecord::kTimeout, .epoch = 17, .missing_rank = 2};
  StopFor("rank 2 (process 42): process 42 has ended");
  EXPECT_THAT(health_.Check(), StatusIs(absl::StatusCode::kAborted, HasSubstr("has ended")));
}

TEST_F(GroupHealthTest, PeersPoisonIsAnAbort) {
  failure_ = {.state = FailureRecord::kStopped, .epoch = 5, .missing_rank = -1};
  EXPECT_THAT(health_.Check(), StatusIs(absl::StatusCode::kAborted, HasSubstr("call (epoch) 5;")));
  failure_.missing_rank = 2;
  EXPECT_THAT(health_.Check(),
              StatusIs(absl::StatusCode::kAborted,
                       HasSubstr("call (epoch) 5, while this one waited for rank 2;")));
}

TEST_F(GroupHealthTest, PoisonOfAPeerThatSawALeaveIsNoAbort) {
  failure_ = {.state = FailureRecord::kStopped, .epoch = 5, .missing_rank = 2};
  page_.left_mask = 1 << 2;
  EXPECT_THAT(health_.Check(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rank 2 has left")));
  StopFor("rank 3 (process 42): process 42 has ended");
  EXPECT_THAT(health_.Check(), StatusIs(absl::StatusCode::kAborted, HasSubstr("has ended")));
}

TEST_F(GroupHealthTest, PeerThatLeftIsNoAbort) {
  page_.left_mask = 1 << 2;
  EXPECT_THAT(health_.Check(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rank 2 has left")));
  page_.left_mask = 0;
  failure_ = {.state = FailureRecord::kLeft, .epoch = 5, .missing_rank = 0};
  EXPECT_THAT(health_.Check(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rank 0 has left")));
}

TEST_F(GroupHealthTest, OwnLeaveIsNoFailure) {
  page_.left_mask = 1 << 1;
  EXPECT_OK(health_.Check());
  // And the others' are then of no matter.
  page_.left_mask = 1 << 0 | 1 << 1;
  EXPECT_OK(health_.Check());
}

}  // namespace
}  // namespace nodecomm::client
