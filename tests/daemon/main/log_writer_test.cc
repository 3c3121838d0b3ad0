#include "daemon/main/log_writer.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "client/base/unique_fd.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

class LogWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends;
    ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    reader_.Reset(ends[0]);
    // Stays open, as standard error does: the writer's thread may be in the middle of a write.
    writer_fd_ = ends[1];
  }
  bool Readable(absl::Duration timeout) {
    pollfd wait = {.fd = reader_.get(), .events = POLLIN, .revents = 0};
    return poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) == 1;
  }

  // What has come when nothing more comes for a while.
  std::string ReadAll() {
    std::string all;
    std::array<char, 65536> text;
    pollfd wait = {.fd = reader_.get(), .events = POLLIN, .revents = 0};
    while (poll(&wait, 1, 200) == 1) {
      const ssize_t length = read(reader_.get(), text.data(), text.size());
      if (length <= 0) break;
      all.append(text.data(), static_cast<size_t>(length));
    }
    return all;
  }

  // A pipe that takes nothing more until it is read.
  void FillPipe() {
    ASSERT_EQ(fcntl(writer_fd_, F_SETFL, O_NONBLOCK), 0);
    while (write(writer_fd_, "f", 1) == 1) {
    }
  }

  // In several reports, where the thread took a line while others were still being lost.
  static size_t CountLost(const std::string& all) {
    size_t lost = 0;
    for (const absl::string_view line : absl::StrSplit(all, '\n')) {
      const std::vector<absl::string_view> words = absl::StrSplit(line, absl::MaxSplits(' ', 1));
      size_t count = 0;
      if (words.size() == 2 && absl::StartsWith(words[1], "lines of the log are lost") &&
          absl::SimpleAtoi(words[0], &count)) {
        lost += count;
      }
    }
    return lost;
  }

  UniqueFd reader_;
  int writer_fd_ = -1;
};

TEST_F(LogWriterTest, LinesComeWholeAndInOrder) {
  auto writer = LogWriter::Start(writer_fd_);
  ASSERT_OK(writer);
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    const std::string line = absl::StrCat("line ", i, "\n");
    expected += line;
    (*writer)->Write(line);
  }
  EXPECT_TRUE((*writer)->Flush(absl::Seconds(20)));
  EXPECT_EQ(ReadAll(), expected);
}

TEST_F(LogWriterTest, LinesThatNobodyReadsAreLostAndCounted) {
  constexpr int kLines = 200;
  FillPipe();
  auto writer = LogWriter::Start(writer_fd_, /*queued_bytes_max=*/10'000);
  ASSERT_OK(writer);
  const absl::Time start = absl::Now();
  const std::string line = std::string(999, 'x') + "\n";
  for (int i = 0; i < kLines; ++i) (*writer)->Write(line);
  EXPECT_FALSE((*writer)->Flush(absl::Milliseconds(50)));
  EXPECT_THAT((*writer)->problem(),
              testing::EndsWith(" lines of the log are lost: nobody read it in time"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  const std::string all = ReadAll();
  EXPECT_TRUE((*writer)->Flush(absl::Seconds(20)));
  size_t written = 0;
  for (size_t at = 0; (at = all.find(line, at)) != std::string::npos; at += line.size()) ++written;
  EXPECT_LT(written, static_cast<size_t>(kLines));
  EXPECT_EQ(CountLost(all), kLines - written);
  // And goes on.
  (*writer)->Write("more\n");
  EXPECT_EQ(ReadAll(), "more\n");
}

TEST_F(LogWriterTest, LinesThatCannotBeWrittenAreCountedAndToldOnceTheyCan) {
  const int out = open("/dev/full", O_WRONLY | O_CLOEXEC);  // stays open, too
  ASSERT_GE(out, 0);
  auto writer = LogWriter::Start(out);
  ASSERT_OK(writer);
  for (int i = 0; i < 3; ++i) (*writer)->Write("lost\n");
  EXPECT_TRUE((*writer)->Flush(absl::Seconds(20)));
  EXPECT_EQ((*writer)->lost().not_written, 3u);
  EXPECT_EQ((*writer)->lost().not_read, 0u);
  const std::string problem =
      "3 lines of the log are lost: they could not be written: No space left on device";
  EXPECT_EQ((*writer)->problem(), problem);
  ASSERT_EQ(dup3(writer_fd_, out, O_CLOEXEC), out);  // there is space again
  // Though nobody logs anything more.
  EXPECT_TRUE(Readable(absl::Seconds(20)));
  EXPECT_EQ(ReadAll(), problem + "\n");
  (*writer)->Write("next\n");
  EXPECT_TRUE((*writer)->Flush(absl::Seconds(20)));
  EXPECT_EQ(ReadAll(), "next\n");
  EXPECT_EQ((*writer)->lost().not_written, 3u);
  EXPECT_EQ((*writer)->problem(), "");
}

TEST_F(LogWriterTest, ItsOwnMessageIsRenderedAsOthersAre) {
  FillPipe();
  auto writer = LogWriter::Start(writer_fd_, /*queued_bytes_max=*/10, [](std::string_view message) {
    return "{" + std::string(message) + "}";
  });
  ASSERT_OK(writer);
  (*writer)->Write("kept\n");
  (*writer)->Write("far too long\n");
  const std::string before = ReadAll();
  (*writer)->Write("next\n");
  EXPECT_THAT(before + ReadAll(),
              testing::HasSubstr("{1 lines of the log are lost: nobody read it in time}\n"));
}

TEST(LogWriter, TellsOfAFileThatWasRemoved) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/log";
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);  // as in LogWriterTest
  ASSERT_GE(fd, 0);
  auto writer = LogWriter::Start(fd);
  ASSERT_OK(writer);
  (*writer)->Write("kept\n");
  ASSERT_TRUE((*writer)->Flush(absl::Seconds(30)));
  EXPECT_EQ((*writer)->problem(), "");
  ASSERT_EQ(unlink(path.c_str()), 0);
  (*writer)->Write("gone\n");
  ASSERT_TRUE((*writer)->Flush(absl::Seconds(30)));
  EXPECT_THAT((*writer)->problem(), testing::HasSubstr("was removed"));
}

// Whoever gave it to the daemon reads it by its descriptor.
TEST(LogWriter, TakesAFileThatNeverHadANameForWhatWasMeant) {
  const int fd = memfd_create("log", MFD_CLOEXEC);
  ASSERT_GE(fd, 0);
  auto writer = LogWriter::Start(fd);
  ASSERT_OK(writer);
  (*writer)->Write("line\n");
  ASSERT_TRUE((*writer)->Flush(absl::Seconds(30)));
  EXPECT_EQ((*writer)->problem(), "");
}

}  // namespace
}  // namespace nodecomm
