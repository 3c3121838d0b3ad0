#include "daemon/session/session_table.h"

#include <fcntl.h>

#include <utility>

#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;

std::vector<UniqueFd> Fds(int count) {
  std::vector<UniqueFd> fds;
  for (int i = 0; i < count; ++i) fds.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
  return fds;
}

TEST(SessionTable, SaysWhatWaitsForTheProcessItsUserAndAllWhereNoMoreMay) {
  SessionTable table(10);
  constexpr SessionId kStopped{1};
  constexpr SessionId kOfItsUser{2};
  constexpr SessionId kOfAnotherUser{3};
  table.Add(1, {.session = kStopped, .uid = 1000, .pid = 4001}, {});
  table.Add(2, {.session = kOfItsUser, .uid = 1000, .pid = 4002}, {});
  table.Add(3, {.session = kOfAnotherUser, .uid = 1001, .pid = 4003}, {});
  for (int i = 0; i < 2; ++i) table.Queue(kStopped, Fds(1));
  table.Queue(kOfItsUser, Fds(3));
  table.Queue(kOfAnotherUser, Fds(4));
  EXPECT_OK(table.CheckQueue(kStopped));
  table.Queue(kStopped, Fds(6));
  EXPECT_THAT(table.CheckQueue(kStopped),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "process 4001 does not take the file descriptors sent to it (is it "
                       "stopped?): 6 more would wait beside 2 transfers for it, of at most 64, "
                       "with 5 descriptors for all processes of its user, of at most 4096, and 9 "
                       "for all processes, of at most 10"));
  EXPECT_OK(table.CheckQueue(kOfItsUser));
}

}  // namespace
}  // namespace nodecomm
