#include "daemon/main/process_setup.h"

#include <pthread.h>
#include <sys/resource.h>

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

// As where the number of threads is bounded, which is not for a process of root: with stacks larger
// than the address space.
TEST(ProcessSetup, TooFewThreadsAreNamed) {
  pthread_attr_t before;
  ASSERT_EQ(pthread_getattr_default_np(&before), 0);
  pthread_attr_t huge;
  pthread_attr_init(&huge);
  ASSERT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 48), 0);
  ASSERT_EQ(pthread_setattr_default_np(&huge), 0);
  EXPECT_THAT(CheckLimits(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("only 0 threads can be made"), HasSubstr("TasksMax="))));
  ASSERT_EQ(pthread_setattr_default_np(&before), 0);
  pthread_attr_destroy(&huge);
  pthread_attr_destroy(&before);
}

}  // namespace
}  // namespace nodecomm
