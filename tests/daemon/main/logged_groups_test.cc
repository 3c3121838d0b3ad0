// What members can have the daemon log as often as they like is logged a few times a second.
#include "daemon/main/logged_groups.h"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/base/steady_clock.h"
#include "tests/daemon/service/fakes.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr size_t kCalls = 1000;

class LoggedGroupsTest : public testing::Test {
 protected:
  LoggedGroupsTest() {
    auto logger = std::make_shared<spdlog::logger>(
        "captured", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_));
    logger->set_pattern("%v");
    spdlog::set_default_logger(std::move(logger));
  }
  ~LoggedGroupsTest() override { spdlog::set_default_logger(before_); }

  std::vector<std::string> lines() const {
    return absl::StrSplit(text_.str(), '\n', absl::SkipEmpty());
  }

  // Calls often, and compares the lines with what the time that this took allows.
  void ExpectFewLines(const std::string& what, const std::function<void()>& call) {
    const SteadyTime start = SteadyNow();
    for (size_t i = 0; i < kCalls; ++i) call();
    const auto seconds = static_cast<size_t>(absl::ToInt64Seconds(SteadyNow() - start)) + 1;
    EXPECT_GE(lines().size(), static_cast<size_t>(kFailedGroupLinesMax));
    EXPECT_LE(lines().size(), kFailedGroupLinesMax * seconds);
    EXPECT_THAT(lines(), Each(HasSubstr(what)));
  }

  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
  std::ostringstream text_;
  FakeGroupRegistry registry_;
  LoggedGroups groups_{&registry_};
  const Caller caller_ = {.session = {1}, .uid = 1000, .pid = 7};
};

TEST_F(LoggedGroupsTest, RepeatedAbortsAreLoggedAFewTimesASecond) {
  v1::AbortGroupRequest request;
  request.set_reason("again");
  ExpectFewLines("aborted: again", [&] { EXPECT_OK(groups_.Abort(caller_, request)); });
}

TEST_F(LoggedGroupsTest, RepeatedConfirmationsThatFailAreLoggedAFewTimesASecond) {
  registry_.SetOutcome(absl::AbortedError("the group is over"));
  size_t answered = 0;
  ExpectFewLines("did not become ready: ", [&] {
    groups_.Confirm(caller_, {}, [&](const absl::Status& status) {
      EXPECT_FALSE(status.ok());
      ++answered;
    });
  });
  EXPECT_EQ(answered, kCalls);
}

TEST_F(LoggedGroupsTest, RepeatedJoinsThatFailAreLoggedAFewTimesASecond) {
  ExpectFewLines("could not join: ", [&] {
    groups_.Join(caller_, {}, [](const absl::StatusOr<v1::JoinGroupResponse>&) {});
    auto joins = registry_.TakeJoins(1);
    ASSERT_THAT(joins, SizeIs(1));
    joins[0].done(absl::InvalidArgumentError("no such GPU"));
  });
}

// Each kind has its own bound, or one that a member repeats would hide the others.
TEST_F(LoggedGroupsTest, AbortsDoNotHideFailedConfirmations) {
  for (size_t i = 0; i < kCalls; ++i) EXPECT_OK(groups_.Abort(caller_, {}));
  registry_.SetOutcome(absl::AbortedError("the group is over"));
  groups_.Confirm(caller_, {}, [](const absl::Status&) {});
  EXPECT_THAT(lines().back(), HasSubstr("did not become ready: "));
}

TEST_F(LoggedGroupsTest, CallsThatWorkOrAreRefusedAreNotTheLogsBusiness) {
  groups_.Confirm(caller_, {}, [](const absl::Status& status) { EXPECT_OK(status); });
  registry_.SetOutcome(absl::NotFoundError("no such group"));
  EXPECT_FALSE(groups_.Abort(caller_, {}).ok());
  EXPECT_THAT(lines(), IsEmpty());
}

}  // namespace
}  // namespace nodecomm
