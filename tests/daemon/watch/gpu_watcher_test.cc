// What the daemon makes of what nodecomm-watcher says, and of its end. The program is a shell
// script.
#include "daemon/watch/gpu_watcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr absl::Duration kLong = absl::Seconds(20);

class GpuWatcherTest : public testing::Test {
 protected:
  std::unique_ptr<GpuWatcher> Watch(const std::string& script) {
    std::ofstream(program_) << "#!/bin/sh\n" << script << "\n";
    chmod(program_.c_str(), 0755);
    return WatchProgram(program_);
  }
  std::unique_ptr<GpuWatcher> WatchProgram(const std::string& program) {
    GpuWatcher::Options options;
    options.program = program;
    options.on_xid = [this](const XidEvent& event) {
      absl::MutexLock lock(&mu_);
      events_.push_back(event);
    };
    options.news = [this](std::string_view problem) {
      absl::MutexLock lock(&mu_);
      news_.emplace_back(problem);
    };
    options.restart_after = absl::Milliseconds(1);
    options.restart_after_max = absl::Milliseconds(10);
    auto watcher = GpuWatcher::Start(std::move(options));
    EXPECT_OK(watcher);
    return *std::move(watcher);
  }
  std::vector<XidEvent> WaitForEvents(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return events_.size() >= count; };
    mu_.AwaitWithTimeout(absl::Condition(&enough), kLong);
    return events_;
  }
  std::vector<std::string> WaitForNews(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return news_.size() >= count; };
    mu_.AwaitWithTimeout(absl::Condition(&enough), kLong);
    return news_;
  }

  TemporaryDirectory directory_;
  const std::string program_ = directory_.path() + "/watcher";
  absl::Mutex mu_;
  std::vector<XidEvent> events_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> news_ ABSL_GUARDED_BY(mu_);
};

TEST_F(GpuWatcherTest, HandsOnWhatTheProgramSays) {
  const auto watcher = Watch("echo 'xid GPU-a 79'; echo 'xid GPU-b 13'; cat");
  const std::vector<XidEvent> events = WaitForEvents(2);
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_EQ(events[0].gpu_uuid, "GPU-a");
  EXPECT_EQ(events[0].code, 79);
  EXPECT_EQ(events[1].gpu_uuid, "GPU-b");
  EXPECT_EQ(events[1].code, 13);
}

TEST_F(GpuWatcherTest, WaitsForTheWholeLine) {
  const auto watcher =
      Watch("printf 'xid GPU'; sleep 0.05; printf -- '-a 7'; sleep 0.05; echo 9; cat");
  const std::vector<XidEvent> events = WaitForEvents(1);
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].gpu_uuid, "GPU-a");
  EXPECT_EQ(events[0].code, 79);
}

TEST_F(GpuWatcherTest, BelievesNoOtherLine) {
  const auto watcher = Watch(
      "head -c 100000 /dev/zero; echo; echo 'xid GPU-a'; echo 'xid  7'; echo 'xid GPU-a -1';"
      "echo 'xid GPU-a seven'; echo 'xid GPU-a 7 8'; echo 'xid GPU-z 95'; cat");
  const std::vector<XidEvent> events = WaitForEvents(1);
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].gpu_uuid, "GPU-z");
}

TEST_F(GpuWatcherTest, StartsTheProgramAgain) {
  const auto watcher = Watch("echo 'xid GPU-a 79'; exit 3");
  EXPECT_GE(WaitForEvents(3).size(), 3u);
  EXPECT_THAT(WaitForNews(1)[0], HasSubstr("exited with code 3"));
}

TEST_F(GpuWatcherTest, SaysThatTheProgramCannotBeStarted) {
  const auto watcher = WatchProgram("/nowhere/nodecomm-watcher");
  EXPECT_THAT(WaitForNews(2)[1], HasSubstr("/nowhere/nodecomm-watcher"));
}

TEST_F(GpuWatcherTest, SaysWhenErrorsAreWatched) {
  const std::string tried = directory_.path() + "/tried";
  const auto watcher =
      Watch("[ -e " + tried + " ] || { touch " + tried + "; exit 3; }; echo watching; cat");
  const std::vector<std::string> news = WaitForNews(2);
  ASSERT_THAT(news, SizeIs(2));
  EXPECT_THAT(news[0], HasSubstr("exited with code 3"));
  EXPECT_EQ(news[1], "");
}

TEST_F(GpuWatcherTest, EndsTheProgramWithItself) {
  const absl::Time start = absl::Now();
  auto watcher = Watch("echo \"xid $$ 1\"; exec sleep 600");
  const pid_t pid = std::stoi(WaitForEvents(1).at(0).gpu_uuid);
  EXPECT_EQ(kill(pid, 0), 0);
  watcher = nullptr;
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_LT(absl::Now() - start, kLong);
}

TEST(WatchLine, IsReadAsItIsWritten) {
  const auto event = ParseXid(FormatXid({.gpu_uuid = "GPU-5", .code = 119}));
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->gpu_uuid, "GPU-5");
  EXPECT_EQ(event->code, 119);
}

TEST(IsFatal, KnowsWhatTheGpuDoesNotSurvive) {
  for (const int code : {62, 79, 95, 119}) EXPECT_TRUE(IsFatal(code)) << code;
  // A user's own faults, and a contained memory error.
  for (const int code : {13, 31, 43, 45, 94, 109}) EXPECT_FALSE(IsFatal(code)) << code;
}

}  // namespace
}  // namespace nodecomm
