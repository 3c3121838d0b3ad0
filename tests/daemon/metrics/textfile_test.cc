#include "daemon/metrics/textfile.h"

#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kInterval = absl::Milliseconds(5);

std::string Contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool Eventually(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

TEST(MetricsTextfile, IsThereAtOnceForEverybodyToReadIsRenewedAndGoesWithTheDaemon) {
  const TemporaryDirectory dir;
  const std::string path = dir.path() + "/n.prom";
  std::atomic<int> writes = 0;
  auto file = MetricsTextfile::Start({.path = path, .interval = kInterval, .expose = [&] {
                                        return absl::StrCat("writes ", ++writes, "\n");
                                      }});
  ASSERT_OK(file);
  EXPECT_THAT(Contents(path), HasSubstr("writes "));
  struct stat status;
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644u);
  EXPECT_TRUE(Eventually([&] {
    return writes > 3 && Contents(path) == absl::StrCat("writes ", writes.load(), "\n");
  }));
  file->reset();
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(MetricsTextfile, DirectoryThatIsNotThereIsAnErrorAtTheStart) {
  const TemporaryDirectory dir;
  EXPECT_THAT(MetricsTextfile::Start({.path = dir.path() + "/missing/n.prom",
                                      .interval = kInterval,
                                      .expose = [] { return std::string(); }}),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("metrics.textfile"), HasSubstr("make that directory"))));
}

TEST(MetricsTextfile, WriteThatFailsLaterIsToldOnceAndSoIsTheNextThatWorks) {
  const TemporaryDirectory dir;
  const std::string sub = dir.path() + "/sub";
  std::filesystem::create_directory(sub);
  std::atomic<int> attempts = 0;
  std::atomic<int> failures = 0;
  std::atomic<int> recoveries = 0;
  const auto file = MetricsTextfile::Start(
      {.path = sub + "/n.prom",
       .interval = kInterval,
       .expose =
           [&] {
             ++attempts;
             return std::string("x\n");
           },
       .news = [&](const absl::Status& written) { ++(written.ok() ? recoveries : failures); }});
  ASSERT_OK(file);
  std::filesystem::remove_all(sub);
  ASSERT_TRUE(Eventually([&] { return failures > 0; }));
  const int failed_at = attempts;
  ASSERT_TRUE(Eventually([&] { return attempts > failed_at + 3; }));
  EXPECT_EQ(failures, 1);
  EXPECT_EQ(recoveries, 0);
  std::filesystem::create_directory(sub);
  EXPECT_TRUE(Eventually([&] { return Contents(sub + "/n.prom") == "x\n" && recoveries == 1; }));
  const int recovered_at = attempts;
  ASSERT_TRUE(Eventually([&] { return attempts > recovered_at + 3; }));
  EXPECT_EQ(recoveries, 1);
}

TEST(MetricsTextfile, SaysOnceThatAnotherWritesTheSameFileAndLeavesThatOnesAlone) {
  const TemporaryDirectory dir;
  const std::string path = dir.path() + "/n.prom";
  std::atomic<int> attempts = 0;
  std::atomic<int> shared = 0;
  std::atomic<int> others = 0;
  auto file = MetricsTextfile::Start({.path = path,
                                      .interval = kInterval,
                                      .expose =
                                          [&] {
                                            ++attempts;
                                            return std::string("ours\n");
                                          },
                                      .news =
                                          [&](const absl::Status& written) {
                                            ++(absl::IsAlreadyExists(written) ? shared : others);
                                          }});
  ASSERT_OK(file);
  const int undisturbed = attempts;
  ASSERT_TRUE(Eventually([&] { return attempts > undisturbed + 3; }));
  EXPECT_EQ(shared, 0);
  const auto replace = [&] {
    std::ofstream(dir.path() + "/another") << "another's\n";
    std::filesystem::rename(dir.path() + "/another", path);
  };
  ASSERT_TRUE(Eventually([&] {
    replace();
    return shared > 0;
  }));
  // It is remembered between two of the other's writes.
  const int told_at = attempts;
  ASSERT_TRUE(Eventually([&] { return attempts > told_at + 3; }));
  EXPECT_EQ(shared, 1);
  EXPECT_EQ(others, 0);
  EXPECT_EQ(Contents(path), "ours\n");
}

TEST(MetricsTextfile, LeavesAFileThatIsAnothersAtItsEnd) {
  const TemporaryDirectory dir;
  const std::string path = dir.path() + "/n.prom";
  auto file = MetricsTextfile::Start(
      {.path = path, .interval = absl::Hours(1), .expose = [] { return std::string("ours\n"); }});
  ASSERT_OK(file);
  std::ofstream(dir.path() + "/another") << "another's\n";
  std::filesystem::rename(dir.path() + "/another", path);
  file->reset();
  EXPECT_EQ(Contents(path), "another's\n");
}

}  // namespace
}  // namespace nodecomm
