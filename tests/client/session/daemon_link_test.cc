#include "client/session/daemon_link.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "client/base/steady_clock.h"
#include "tests/client/session/fake_session_daemon.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;

TEST(DaemonLink, IsSharedByAllWhoOpenTheSameDirectory) {
  const TemporaryDirectory directory;
  const FakeSessionDaemon daemon(directory.path());
  const absl::StatusOr<std::shared_ptr<DaemonLink>> first = DaemonLink::Open(directory.path());
  const absl::StatusOr<std::shared_ptr<DaemonLink>> second = DaemonLink::Open(directory.path());
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_EQ(first->get(), second->get());
  EXPECT_EQ(daemon.connections(), 1);
}

TEST(DaemonLink, IsOpenedOnceByThreadsAtTheSameMoment) {
  const TemporaryDirectory directory;
  const FakeSessionDaemon daemon(directory.path());
  std::vector<absl::StatusOr<std::shared_ptr<DaemonLink>>> links(8);
  std::vector<std::thread> threads;
  threads.reserve(links.size());
  for (auto& link : links) {
    threads.emplace_back([&] { link = DaemonLink::Open(directory.path()); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& link : links) {
    ASSERT_OK(link);
    EXPECT_EQ(*link, *links[0]);
  }
  EXPECT_EQ(daemon.connections(), 1);
}

TEST(DaemonLink, FailureIsNotKept) {
  const TemporaryDirectory directory;
  EXPECT_THAT(DaemonLink::Open(directory.path()), StatusIs(absl::StatusCode::kUnavailable));
  const FakeSessionDaemon daemon(directory.path());
  EXPECT_OK(DaemonLink::Open(directory.path()));
}

TEST(DaemonLink, OtherDirectoryIsAnotherDaemon) {
  const TemporaryDirectory one;
  const TemporaryDirectory other;
  const FakeSessionDaemon daemon(one.path());
  const absl::StatusOr<std::shared_ptr<DaemonLink>> link = DaemonLink::Open(one.path());
  ASSERT_OK(link);
  EXPECT_THAT(DaemonLink::Open(other.path()), StatusIs(absl::StatusCode::kUnavailable));
}

TEST(DaemonLink, ClosesWithItsLastUserAndOpensAnew) {
  const TemporaryDirectory directory;
  const FakeSessionDaemon daemon(directory.path());
  ASSERT_OK(DaemonLink::Open(directory.path()));
  ASSERT_OK(DaemonLink::Open(directory.path()));
  EXPECT_EQ(daemon.connections(), 2);
}

TEST(DaemonLink, StandsAgainAfterARestartOfTheDaemon) {
  const TemporaryDirectory directory;
  FakeSessionDaemon daemon(directory.path());
  const absl::StatusOr<std::shared_ptr<DaemonLink>> before = DaemonLink::Open(directory.path());
  ASSERT_OK(before);
  daemon.CloseSessions();
  // Returns once the link knows, also if it stands again by then: it is a transfer of before.
  EXPECT_THAT((*before)->session().TakeTransfer(kFakeLastTransfer, SteadyNow() + absl::Seconds(20)),
              StatusIs(absl::StatusCode::kUnavailable));
  const absl::StatusOr<std::shared_ptr<DaemonLink>> after = DaemonLink::Open(directory.path());
  ASSERT_OK(after);
  EXPECT_EQ(before->get(), after->get());
  EXPECT_EQ(daemon.connections(), 2);
  EXPECT_EQ(daemon.last_hello().resume().session_id(), 7u);
}

TEST(DaemonLink, IsReplacedWhereTheDaemonDoesNotKnowItsSession) {
  const TemporaryDirectory directory;
  FakeSessionDaemon daemon(directory.path());
  const absl::StatusOr<std::shared_ptr<DaemonLink>> before = DaemonLink::Open(directory.path());
  ASSERT_OK(before);
  daemon.ForgetSessions();
  daemon.CloseSessions();
  EXPECT_THAT((*before)->session().TakeTransfer(2000, SteadyNow() + absl::Seconds(20)),
              StatusIs(absl::StatusCode::kUnavailable));
  const absl::StatusOr<std::shared_ptr<DaemonLink>> after = DaemonLink::Open(directory.path());
  ASSERT_OK(after);
  EXPECT_NE(before->get(), after->get());
  EXPECT_TRUE((*before)->session().ended());
}

TEST(DaemonLink, IsAnErrorWhileTheDaemonIsAway) {
  const TemporaryDirectory directory;
  auto daemon = std::make_unique<FakeSessionDaemon>(directory.path());
  const absl::StatusOr<std::shared_ptr<DaemonLink>> link = DaemonLink::Open(directory.path());
  ASSERT_OK(link);
  daemon = nullptr;
  EXPECT_THAT((*link)->session().TakeTransfer(2000, SteadyNow() + absl::Seconds(20)),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(DaemonLink::Open(directory.path()), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_FALSE((*link)->session().ended());
}

// What is to be told to a daemon that is away, and the link's last user.
class LastUser {
 public:
  explicit LastUser(const std::string& runtime_dir) {
    auto daemon = std::make_unique<FakeSessionDaemon>(runtime_dir);
    auto link = DaemonLink::Open(runtime_dir);
    EXPECT_OK(link);
    daemon = nullptr;
    std::filesystem::remove(SessionSocketPath(runtime_dir));
    // Returns once the link knows.
    EXPECT_THAT((*link)->session().TakeTransfer(2000, SteadyNow() + absl::Seconds(20)),
                StatusIs(absl::StatusCode::kUnavailable));
    const auto notice = [this](absl::Duration) {
      if (!daemon_is_back_) return absl::UnavailableError("away");
      told_.Notify();
      return absl::OkStatus();
    };
    EXPECT_THAT((*link)->notices().Tell(notice, absl::Seconds(1)),
                StatusIs(absl::StatusCode::kUnavailable));
  }
  void DaemonIsBack() { daemon_is_back_ = true; }
  bool IsTold() { return told_.WaitForNotificationWithTimeout(absl::Seconds(20)); }

 private:
  std::atomic<bool> daemon_is_back_ = false;
  absl::Notification told_;
};

TEST(DaemonLink, DaemonIsToldThoughNobodyUsesTheLinkAnyMore) {
  const TemporaryDirectory directory;
  LastUser user(directory.path());
  user.DaemonIsBack();
  const FakeSessionDaemon daemon(directory.path());
  EXPECT_TRUE(user.IsTold());
  // The old session ends with that, sooner or later.
  EXPECT_OK(DaemonLink::Open(directory.path()));
}

TEST(DaemonLink, NextUserTakesTheLinkThatNobodyUses) {
  const TemporaryDirectory directory;
  LastUser user(directory.path());
  EXPECT_THAT(DaemonLink::Open(directory.path()), StatusIs(absl::StatusCode::kUnavailable));
  user.DaemonIsBack();
  const FakeSessionDaemon daemon(directory.path());
  const auto next = DaemonLink::Open(directory.path());
  ASSERT_OK(next);
  EXPECT_TRUE(user.IsTold());
}

// Tells once it has been refused so often.
Notices::Notice RefusedAtFirst(std::atomic<int>& refusals, absl::Notification& told) {
  return [&](absl::Duration) {
    if (refusals-- > 0) return absl::ResourceExhaustedError("too many calls a second");
    told.Notify();
    return absl::OkStatus();
  };
}

// By the session's thread: perhaps nobody says anything more.
TEST(DaemonLink, DaemonIsToldAgainWhatItRefusedForAMoment) {
  const TemporaryDirectory directory;
  const FakeSessionDaemon daemon(directory.path());
  auto link = DaemonLink::Open(directory.path());
  ASSERT_OK(link);
  std::atomic<int> refusals = 2;
  absl::Notification told;
  const Notices::Notice notice = RefusedAtFirst(refusals, told);
  EXPECT_THAT((*link)->notices().Tell(notice, absl::Seconds(1)),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE(told.WaitForNotificationWithTimeout(absl::Seconds(20)));
  EXPECT_EQ(daemon.connections(), 1);
}

TEST(DaemonLink, DaemonIsToldWhatItRefusedThoughNobodyUsesTheLinkAnyMore) {
  const TemporaryDirectory directory;
  const FakeSessionDaemon daemon(directory.path());
  auto link = DaemonLink::Open(directory.path());
  ASSERT_OK(link);
  std::atomic<int> refusals = 1;
  absl::Notification told;
  const Notices::Notice notice = RefusedAtFirst(refusals, told);
  EXPECT_FALSE((*link)->notices().Tell(notice, absl::Seconds(1)).ok());
  link = absl::CancelledError("unused");
  EXPECT_TRUE(told.WaitForNotificationWithTimeout(absl::Seconds(20)));
  // The old session ends with that, and the next user has one of its own, sooner or later.
  EXPECT_OK(DaemonLink::Open(directory.path()));
}

// One may be opened just as the one before is left, and each has something to retry.
TEST(DaemonLink, LinksThatLingerBesideEachOtherDoNotEvictEachOther) {
  const TemporaryDirectory directory;
  const FakeSessionDaemon daemon(directory.path());
  const SteadyTime end = SteadyNow() + absl::Seconds(2);
  const Notices::Notice refused = [end](absl::Duration) {
    return SteadyNow() < end ? absl::ResourceExhaustedError("too many calls a second")
                             : absl::OkStatus();
  };
  std::vector<std::thread> users(4);
  for (std::thread& user : users) {
    user = std::thread([&] {
      while (SteadyNow() < end) {
        const auto link = DaemonLink::Open(directory.path());
        if (link.ok()) (*link)->notices().Tell(refused, absl::Seconds(1)).IgnoreError();
      }
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_OK(DaemonLink::Open(directory.path()));
}

TEST(DaemonLink, ForkedChildIsToldToExec) {
  const TemporaryDirectory directory;
  const FakeSessionDaemon daemon(directory.path());
  const absl::StatusOr<std::shared_ptr<DaemonLink>> link = DaemonLink::Open(directory.path());
  ASSERT_OK(link);
  const pid_t child = fork();
  if (child == 0) {
    _exit(absl::IsFailedPrecondition(DaemonLink::Open(directory.path()).status()) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_FALSE((*link)->session().ended());
}

}  // namespace
}  // namespace nodecomm
