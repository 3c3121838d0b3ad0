#include "daemon/group/control_page_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/group/text.h"
#include "tests/daemon/group/group_fixture.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

class ControlPageFileTest : public ::testing::Test {
 protected:
  std::unique_ptr<ControlPageFile> Make(uint64_t generation) {
    auto page = ControlPageFile::Create(dir_, generation);
    EXPECT_OK(page);
    return *std::move(page);
  }
  const TemporaryDirectory directory_;
  const std::string dir_ = directory_.path();
};

TEST_F(ControlPageFileTest, StartsAsARunningGroupWithoutCulprit) {
  auto file = Make(42);
  const MappedPage page(file->member_fd());
  EXPECT_EQ(page->magic, kControlPageMagic);
  EXPECT_EQ(page->version, kControlPageVersion);
  EXPECT_EQ(page->generation, 42u);
  EXPECT_EQ(page->stop, 0u);
  EXPECT_EQ(page->left_mask, 0u);
  EXPECT_EQ(page->culprit_rank, -1);
  EXPECT_EQ(page->culprit_pid, -1);
}

TEST_F(ControlPageFileTest, OnlyTheDaemonCanWriteIt) {
  auto file = Make(42);
  EXPECT_EQ(fcntl(file->member_fd(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_NE(fcntl(file->member_fd(), F_GETFD) & FD_CLOEXEC, 0);
  struct stat status = {};
  ASSERT_EQ(fstat(file->member_fd(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_EQ(static_cast<size_t>(status.st_size), kControlPageBytes);
  EXPECT_EQ(mmap(nullptr, kControlPageBytes, PROT_WRITE, MAP_SHARED, file->member_fd(), 0),
            MAP_FAILED);
}

TEST_F(ControlPageFileTest, ShowsWhoLeftAndWhen) {
  auto file = Make(1);
  const MappedPage page(file->member_fd());
  ASSERT_OK(file->WriteLeft(Rank{3}, 77));
  EXPECT_EQ(page->left_mask, 1u << 3);
  EXPECT_EQ(page->left_epoch[3], 77u);
  ASSERT_OK(file->WriteLeft(Rank{0}, 78));
  EXPECT_EQ(page->left_mask, (1u << 3) | 1u);
  EXPECT_EQ(page->left_epoch[0], 78u);
  EXPECT_EQ(page->stop, 0u);
}

// Kernels spin until they see the word, whether or not the cause can be told.
TEST_F(ControlPageFileTest, StopIsWrittenThoughItsCauseCannotBe) {
  auto file = Make(1);
  const MappedPage page(file->member_fd());
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit up_to_the_words = {.rlim_cur = offsetof(ControlPage, culprit_rank),
                                  .rlim_max = before.rlim_max};
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &up_to_the_words), 0);
  const absl::Status stopped = file->WriteStop({Rank{1}, 7}, "cause");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  EXPECT_OK(stopped);
  EXPECT_NE(page->stop, 0u);
  EXPECT_EQ(page->culprit_rank, -1);
}

TEST_F(ControlPageFileTest, ShowsTheStopAndItsCause) {
  auto file = Make(1);
  const MappedPage page(file->member_fd());
  ASSERT_OK(file->WriteStop({Rank{2}, 4711}, "process has ended"));
  EXPECT_NE(page->stop, 0u);
  EXPECT_EQ(page->culprit_rank, 2);
  EXPECT_EQ(page->culprit_pid, 4711);
  EXPECT_STREQ(page->reason, "process has ended");
}

TEST_F(ControlPageFileTest, CutsAReasonThatIsTooLongBetweenCharacters) {
  auto file = Make(1);
  const MappedPage page(file->member_fd());
  std::string reason(kControlPageReasonBytes - 2, 'a');
  reason += "\xc3\xa4\xc3\xa4";  // the first byte of the first umlaut would still fit
  ASSERT_OK(file->WriteStop({}, reason));
  EXPECT_EQ(std::string(page->reason), std::string(kControlPageReasonBytes - 2, 'a'));
}

TEST_F(ControlPageFileTest, IsUnlinkedButStaysMapped) {
  auto file = Make(9);
  const MappedPage page(file->member_fd());
  EXPECT_FALSE(std::filesystem::is_empty(dir_));
  file.reset();
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
  EXPECT_EQ(page->generation, 9u);
}

TEST_F(ControlPageFileTest, NeverTakesOverAFileThatIsThere) {
  auto file = Make(9);
  EXPECT_THAT(ControlPageFile::Create(dir_, 9),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(dir_)));
  EXPECT_FALSE(std::filesystem::is_empty(dir_));
}

// The kernel lets an open wait for 45 s for who has a lease.
TEST_F(ControlPageFileTest, AMembersLeaseIsNotWaitedFor) {
  auto file = Make(42);
  const UniqueFd member(fcntl(file->member_fd(), F_DUPFD_CLOEXEC, 0));
  file->Keep();
  file.reset();  // as a daemon that has ended: nobody can write it now
  ASSERT_EQ(signal(SIGIO, SIG_IGN), SIG_DFL);
  const int leased = fcntl(member.get(), F_SETLEASE, F_RDLCK);
  if (leased != 0 && errno == EINVAL) GTEST_SKIP() << "needs a file system with leases";
  ASSERT_EQ(leased, 0) << strerror(errno);
  const absl::Time begin = absl::Now();
  EXPECT_THAT(ControlPageFile::Reopen(dir_, 42), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  ASSERT_EQ(fcntl(member.get(), F_SETLEASE, F_UNLCK), 0);
  EXPECT_OK(ControlPageFile::Reopen(dir_, 42));
  signal(SIGIO, SIG_DFL);
}

TEST_F(ControlPageFileTest, MissingDirectoryIsNamed) {
  EXPECT_THAT(ControlPageFile::Create(dir_ + "/none", 9),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(dir_ + "/none")));
}

TEST(CutUtf8, CutsBetweenCharactersOnly) {
  EXPECT_EQ(CutUtf8("abc", 3), "abc");
  EXPECT_EQ(CutUtf8("abcd", 3), "abc");
  EXPECT_EQ(CutUtf8("a\xe2\x82\xac", 3), "a");
  EXPECT_EQ(CutUtf8("a\xe2\x82\xac", 4), "a\xe2\x82\xac");
  EXPECT_EQ(CutUtf8("\xe2\x82\xac", 0), "");
}

TEST(RankList, SaysOneOrMany) {
  EXPECT_EQ(RankList(std::vector<Rank>{{2}}), "rank 2");
  EXPECT_EQ(RankList(std::vector<Rank>{{0}, {2}}), "ranks 0, 2");
}

}  // namespace
}  // namespace nodecomm
