// Programs of the daemon: what they are started with, and how they end.
#include "daemon/process/child_process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::testing::HasSubstr;

class Pipe {
 public:
  Pipe() {
    std::array<int, 2> ends;
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    reader_ = UniqueFd(ends[0]);
    writer_ = UniqueFd(ends[1]);
  }
  int writer() const { return writer_.get(); }
  std::string ReadAll() {
    writer_.Reset();
    std::string text;
    char letter;
    while (read(reader_.get(), &letter, 1) == 1) text += letter;
    return text;
  }

 private:
  UniqueFd reader_;
  UniqueFd writer_;
};

std::unique_ptr<ChildProcess> StartShell(const std::string& script,
                                         std::vector<ChildProcess::Fd> fds = {}) {
  auto child = ChildProcess::Start(
      {.program = "/bin/sh", .arguments = {"-c", script}, .fds = std::move(fds)});
  EXPECT_OK(child);
  return *std::move(child);
}

TEST(ChildProcess, HasItsArgumentsAndDescriptors) {
  Pipe said;
  Pipe fifth;
  auto child = StartShell("echo out; echo five >&5", {{.number = 1, .fd = said.writer()},
                                                      {.number = 5, .fd = fifth.writer()}});
  EXPECT_EQ(child->End(absl::Seconds(20)), "exited with code 0");
  EXPECT_TRUE(child->exited_with(0));
  EXPECT_EQ(said.ReadAll(), "out\n");
  EXPECT_EQ(fifth.ReadAll(), "five\n");
}

// The two change places: what one covers must have been copied before.
TEST(ChildProcess, SwapsDescriptorsThatCoverEachOther) {
  Pipe a;
  Pipe b;
  const std::string script = absl::StrFormat(
      "echo one > /proc/self/fd/%d; echo two > /proc/self/fd/%d", a.writer(), b.writer());
  ASSERT_LE(b.writer(), ChildProcess::kChildFdMax);
  StartShell(script,
             {{.number = b.writer(), .fd = a.writer()}, {.number = a.writer(), .fd = b.writer()}})
      ->End(absl::Seconds(20));
  EXPECT_EQ(a.ReadAll(), "two\n");
  EXPECT_EQ(b.ReadAll(), "one\n");
}

TEST(ChildProcess, HasNoOtherDescriptors) {
  Pipe said;
  const UniqueFd other(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const std::string script = absl::StrFormat("test -e /proc/$$/fd/%d || echo none", other.get());
  StartShell(script, {{.number = 1, .fd = said.writer()}})->End(absl::Seconds(20));
  EXPECT_EQ(said.ReadAll(), "none\n");
}

TEST(ChildProcess, SaysHowItEnded) {
  auto failed = StartShell("exit 7");
  EXPECT_EQ(failed->End(absl::Seconds(20)), "exited with code 7");
  EXPECT_TRUE(failed->exited_with(7));
  EXPECT_FALSE(failed->exited_with(0));
  auto killed = StartShell("kill -TERM $$");
  EXPECT_EQ(killed->End(absl::Seconds(20)), "was ended by signal 15");
  EXPECT_FALSE(killed->exited_with(15));
}

TEST(ChildProcess, IsKilledWhenItDoesNotEnd) {
  const absl::Time start = absl::Now();
  auto child = StartShell("exec sleep 600");
  EXPECT_FALSE(child->HasEnded(absl::ZeroDuration()));
  EXPECT_EQ(child->End(absl::Milliseconds(10)), "was ended by signal 9");
  EXPECT_TRUE(child->HasEnded(absl::ZeroDuration()));
  EXPECT_EQ(child->End(absl::ZeroDuration()), "was ended by signal 9");
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
}

TEST(ChildProcess, EndsWithItsObject) {
  auto child = StartShell("exec sleep 600");
  const pid_t pid = child->pid();
  EXPECT_EQ(kill(pid, 0), 0);
  child = nullptr;
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST(ChildProcess, ThatCannotBeStartedSaysWhich) {
  const auto child =
      ChildProcess::Start({.program = "/nowhere/at-all", .arguments = {}, .fds = {}});
  EXPECT_EQ(child.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(child.status().message()), HasSubstr("/nowhere/at-all"));
}

TEST(ProgramBesideThisOne, IsInTheSameDirectory) {
  const auto path = ProgramBesideThisOne("nodecommd");
  ASSERT_OK(path);
  EXPECT_THAT(*path, HasSubstr("/tests/nodecommd"));
}

TEST(ProgramBeside, IsInLibexecWhereItIsInstalled) {
  const TemporaryDirectory root;
  const std::string sbin = root.path() + "/sbin";
  const std::string libexec = root.path() + "/libexec/nodecomm";
  std::filesystem::create_directories(sbin);
  std::filesystem::create_directories(libexec);
  EXPECT_EQ(ProgramBeside(sbin, "helper"), sbin + "/helper");  // for the message that it is missing
  std::filesystem::copy_file("/bin/true", libexec + "/helper");
  EXPECT_EQ(ProgramBeside(sbin, "helper"), sbin + "/../libexec/nodecomm/helper");
  std::filesystem::copy_file("/bin/true", sbin + "/helper");
  EXPECT_EQ(ProgramBeside(sbin, "helper"), sbin + "/helper");
}

}  // namespace
}  // namespace nodecomm
