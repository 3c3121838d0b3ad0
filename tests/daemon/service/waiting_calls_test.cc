#include "daemon/service/waiting_calls.h"

#include <vector>

#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WaitingCallsTest : public testing::Test {
 protected:
  WaitingCalls::Finish Record() {
    return [this](absl::Status status) { answers_.push_back(std::move(status)); };
  }

  WaitingCalls calls_;
  std::vector<absl::Status> answers_;
};

TEST_F(WaitingCallsTest, FirstTakerFinishesTheCall) {
  const auto a = calls_.Add(Record());
  const auto b = calls_.Add(Record());
  ASSERT_TRUE(a.has_value());
  ASSERT_TRUE(b.has_value());
  EXPECT_NE(*a, *b);
  WaitingCalls::Finish finish = calls_.Take(*a);
  ASSERT_TRUE(static_cast<bool>(finish));
  EXPECT_FALSE(static_cast<bool>(calls_.Take(*a)));
  finish(absl::NotFoundError("x"));
  EXPECT_THAT(answers_, ElementsAre(StatusIs(absl::StatusCode::kNotFound)));
}

TEST_F(WaitingCallsTest, FailAllFinishesEveryCallOnce) {
  const auto a = calls_.Add(Record());
  const auto b = calls_.Add(Record());
  ASSERT_TRUE(a.has_value());
  ASSERT_TRUE(b.has_value());
  calls_.Take (*a)(absl::OkStatus());
  calls_.FailAll(absl::UnavailableError("stopping"));
  EXPECT_FALSE(static_cast<bool>(calls_.Take(*b)));
  EXPECT_THAT(answers_, ElementsAre(StatusIs(absl::StatusCode::kOk),
                                    StatusIs(absl::StatusCode::kUnavailable)));
}

TEST_F(WaitingCallsTest, CallAfterFailAllIsFinishedAtOnce) {
  calls_.FailAll(absl::UnavailableError("stopping"));
  EXPECT_THAT(answers_, IsEmpty());
  EXPECT_FALSE(calls_.Add(Record()).has_value());
  EXPECT_THAT(answers_, ElementsAre(StatusIs(absl::StatusCode::kUnavailable, "stopping")));
}

}  // namespace
}  // namespace nodecomm
