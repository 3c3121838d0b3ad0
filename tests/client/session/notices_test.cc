#include "client/session/notices.h"

#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A daemon that is away, or answers with `answer_`.
class NoticesTest : public testing::Test {
 protected:
  absl::Status Tell(const std::string& what) {
    return notices_.Tell(
        [this, what](absl::Duration) {
          if (away_.ok()) told_.push_back(what);
          return away_.ok() ? answer_ : away_;
        },
        absl::Seconds(1));
  }

  int retries_wanted_ = 0;
  Notices notices_{[this] { ++retries_wanted_; }};
  absl::Status away_;
  absl::Status answer_;
  std::vector<std::string> told_;
};

TEST_F(NoticesTest, AnswerIsHandedOn) {
  EXPECT_OK(Tell("a"));
  answer_ = absl::NotFoundError("no such group");
  EXPECT_THAT(Tell("b"), StatusIs(absl::StatusCode::kNotFound));
  notices_.TellKept();
  EXPECT_THAT(told_, ElementsAre("a", "b")) << "told once";
}

TEST_F(NoticesTest, WhatCouldNotBeToldIsToldInOrderLater) {
  for (const absl::Status& away :
       {absl::UnavailableError("away"), absl::DeadlineExceededError("hangs"),
        absl::ResourceExhaustedError("takes no more calls")}) {
    away_ = away;
    EXPECT_EQ(Tell("a").code(), away.code());
    EXPECT_FALSE(Tell("b").ok());
    notices_.TellKept();
    EXPECT_THAT(told_, IsEmpty());
    away_ = absl::OkStatus();
    answer_ = absl::NotFoundError("a group that is over is as good");
    notices_.TellKept();
    EXPECT_THAT(told_, ElementsAre("a", "b"));
    told_.clear();
  }
}

// As who ends many communicators would find.
TEST_F(NoticesTest, DaemonThatHangsCostsOneDeadline) {
  std::vector<absl::Duration> waits;
  const auto tell = [&] {
    return notices_.Tell(
        [&](absl::Duration timeout) {
          waits.push_back(timeout);
          return away_;
        },
        absl::Seconds(1));
  };
  away_ = absl::DeadlineExceededError("hangs");
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(tell().ok());
  EXPECT_THAT(waits, ElementsAre(absl::Seconds(1), testing::Le(Notices::kHangingTimeout),
                                 testing::Le(Notices::kHangingTimeout)));
  // Whoever comes when it answers again tells it all, and its own; unless this machine is so busy
  // that it takes too long.
  away_ = absl::OkStatus();
  waits.clear();
  absl::Status told = tell();
  for (int i = 0; i < 10 && !told.ok(); ++i) told = tell();
  EXPECT_OK(told);
  EXPECT_GE(waits.size(), 4u);
  EXPECT_EQ(waits.back(), absl::Seconds(1));
}

TEST_F(NoticesTest, AllThatIsKeptIsToldWithinTheTimeOfOneCall) {
  std::vector<absl::Duration> waits;
  const auto keep = [&] {
    notices_
        .Tell(
            [&](absl::Duration timeout) {
              waits.push_back(timeout);
              absl::SleepFor(absl::Milliseconds(1));
              return away_;
            },
            absl::Seconds(1))
        .IgnoreError();
  };
  away_ = absl::ResourceExhaustedError("takes no more calls");
  for (int i = 0; i < 3; ++i) keep();
  away_ = absl::OkStatus();
  waits.clear();
  notices_.TellKept();
  ASSERT_THAT(waits, testing::SizeIs(3));
  EXPECT_LE(waits[0], Notices::kTellTimeoutMin);
  for (int i = 1; i < 3; ++i) EXPECT_LE(waits[i], waits[i - 1] - absl::Milliseconds(1));
}

TEST_F(NoticesTest, DaemonThatIsSlowIsToldByWhoTriesAgain) {
  constexpr absl::Duration kSlow = absl::Seconds(7);
  absl::Duration answers_after = absl::InfiniteDuration();
  int told = 0;
  const auto tell = [&] {
    return notices_.Tell(
        [&](absl::Duration timeout) {
          if (timeout < answers_after) return absl::DeadlineExceededError("slow");
          ++told;
          return absl::OkStatus();
        },
        absl::Seconds(1));
  };
  EXPECT_FALSE(tell().ok());
  EXPECT_FALSE(tell().ok());
  answers_after = kSlow;
  for (absl::Duration wait = Notices::kTellTimeoutMin; wait < kSlow; wait *= 2) {
    notices_.TellKept();
    EXPECT_EQ(told, 0);
  }
  notices_.TellKept();
  EXPECT_EQ(told, 2);
}

// Nobody would ever tell them: the daemon does not come back, since it is there.
TEST_F(NoticesTest, LostConnectionIsNotTakenForADaemonThatIsAway) {
  int calls = 0;
  const absl::Status told = notices_.Tell(
      [&](absl::Duration) {
        return ++calls == 1 ? absl::UnavailableError("reset") : absl::OkStatus();
      },
      absl::Seconds(1));
  EXPECT_OK(told);
  notices_.TellKept();
  EXPECT_EQ(calls, 2) << "it was kept as well";
}

TEST_F(NoticesTest, NextOneTakesTheKeptOnesAlong) {
  away_ = absl::UnavailableError("away");
  EXPECT_FALSE(Tell("a").ok());
  away_ = absl::OkStatus();
  EXPECT_OK(Tell("b"));
  EXPECT_THAT(told_, ElementsAre("a", "b"));
}

// The daemon that is there does not come back, and perhaps nobody says anything more.
TEST_F(NoticesTest, AsksForAnotherTryWheneverSomethingIsLeft) {
  EXPECT_OK(Tell("a"));
  EXPECT_EQ(retries_wanted_, 0);
  away_ = absl::ResourceExhaustedError("too many calls a second");
  EXPECT_FALSE(Tell("b").ok());
  EXPECT_EQ(retries_wanted_, 1);
  notices_.TellKept();
  EXPECT_EQ(retries_wanted_, 2);
  away_ = absl::OkStatus();
  notices_.TellKept();
  EXPECT_EQ(retries_wanted_, 2);
  EXPECT_THAT(told_, ElementsAre("a", "b"));
}

TEST_F(NoticesTest, OneThatIsRefusedForTooLongKeepsNobodyBack) {
  Notices notices([] {}, absl::ZeroDuration());
  const auto refused = [](absl::Duration) { return absl::ResourceExhaustedError("too large"); };
  EXPECT_THAT(notices.Tell(refused, absl::Seconds(1)),
              StatusIs(absl::StatusCode::kResourceExhausted));
  int told = 0;
  const auto next = [&](absl::Duration) {
    ++told;
    return absl::OkStatus();
  };
  EXPECT_OK(notices.Tell(next, absl::Seconds(1)));
  EXPECT_EQ(told, 1);
}

TEST_F(NoticesTest, OneThatIsRefusedForAMomentKeepsItsPlace) {
  away_ = absl::ResourceExhaustedError("too many calls a second");
  EXPECT_FALSE(Tell("a").ok());
  for (int i = 0; i < 100; ++i) notices_.TellKept();
  away_ = absl::OkStatus();
  EXPECT_OK(Tell("b"));
  EXPECT_THAT(told_, ElementsAre("a", "b"));
}

TEST_F(NoticesTest, KeptOnesAreBounded) {
  away_ = absl::UnavailableError("away");
  for (size_t i = 0; i < Notices::kKeptMax + 10; ++i) EXPECT_FALSE(Tell("x").ok());
  away_ = absl::OkStatus();
  notices_.TellKept();
  EXPECT_EQ(told_.size(), Notices::kKeptMax);
}

}  // namespace
}  // namespace nodecomm
