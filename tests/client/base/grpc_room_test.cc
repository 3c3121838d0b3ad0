// Limits that are too low for gRPC, in a process that does not use it.
#include "client/base/grpc_room.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/support/no_threads.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

TEST(GrpcRoom, TooFewThreadsAreNamed) {
  EXPECT_OK(CheckRoomForGrpc());
  const NoThreads none;
  EXPECT_THAT(
      CheckRoomForGrpc(),
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr("0 more threads"), ContainsRegex("by [1-9][0-9]+ at least"),
                     HasSubstr("ulimit -u"), HasSubstr("pids.max"), HasSubstr("ulimit -v"))));
}

TEST(GrpcRoom, TooFewDescriptorsAreNamed) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low = {.rlim_cur = 12, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  const absl::Status checked = CheckRoomForGrpc();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(checked, StatusIs(absl::StatusCode::kResourceExhausted,
                                AllOf(HasSubstr("too few files"),
                                      ContainsRegex("has [1-9][0-9]* open, of at most 12;"),
                                      HasSubstr("ulimit -n"))));
}

}  // namespace
}  // namespace nodecomm
