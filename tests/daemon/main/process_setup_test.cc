#include "daemon/main/process_setup.h"

#include <sys/resource.h>

#include "absl/strings/str_cat.h"
#include "client/base/spare_threads.h"
#include "tests/support/no_threads.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ProcessSetup, HasWhatItNeedsHere) { EXPECT_OK(CheckLimits()); }

TEST(ProcessSetup, TooFewFilesAreNamed) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few = {.rlim_cur = 40, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  EXPECT_THAT(CheckLimits(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("may open 40 files"), HasSubstr("LimitNOFILE="))));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST(ProcessSetup, TooSmallFilesAreNamed) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {.rlim_cur = 8192, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THAT(CheckLimits(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("at most 8192 bytes"), HasSubstr("LimitFSIZE="))));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
}

// What daemons had at most, with the threads that they have when they look (process_setup.h), while
// one server of gRPC's served all workers.
TEST(ProcessSetup, WantsTheThreadsThatADaemonAtWorkHas) {
  struct Seen {
    int processors;
    int threads;
  };
  for (const Seen& seen :
       {Seen{1, 27}, Seen{2, 29}, Seen{4, 34}, Seen{8, 39}, Seen{16, 52}, Seen{24, 61},
        Seen{32, 72}, Seen{64, 71}, Seen{128, 77}, Seen{256, 76}}) {
    const int threads = seen.threads + static_cast<int>(kControlServers) - 1;
    EXPECT_GE(ThreadsWanted(seen.processors), threads - 2) << seen.processors;
    EXPECT_LE(ThreadsWanted(seen.processors), threads + 8) << seen.processors;
  }
}

TEST(ProcessSetup, TooFewThreadsAreNamed) {
  const NoThreads none;
  EXPECT_THAT(
      CheckLimits(),
      StatusIs(
          absl::StatusCode::kResourceExhausted,
          AllOf(HasSubstr("only 0 threads can be made"), HasSubstr("TasksMax="),
                HasSubstr(absl::StrCat("by ", ThreadsWanted(ProcessorsOfGrpc()), " at least")))));
}

}  // namespace
}  // namespace nodecomm
