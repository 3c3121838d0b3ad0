// A user who opens and ends sessions all day fills neither the log nor what others have in it.
// Needs root, to become others.

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/isolation/other_users.h"
#include "tests/support/daemon_process.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

int OpenSessions(const std::string& dir, int count) {
  for (int i = 0; i < count; ++i) {
    TestWorker worker(dir + "/session.sock");
    if (!worker.Open().ok()) return 1;
  }
  return 0;
}

TEST(LogFlood, OfOneUserIsBoundedAndLeavesOthersTheirLines) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become other users";
  constexpr int kSessions = 1500;  // two lines each
  auto daemon = DaemonProcess::Start(
      {.program = NODECOMM_DAEMON,
       .topology = NODECOMM_TOPOLOGY,
       .config = "limits { connections_per_uid_per_second: 10000 sessions_per_uid_max: 2000 "
                 "sessions_max: 4000 }",
       .keep_log = true});
  ASSERT_OK(daemon);
  const std::string dir = (*daemon)->runtime_dir();
  LetOthersIn(dir);
  EXPECT_EQ(RunAs(60002, [&] { return OpenSessions(dir, kSessions); }), 0);
  EXPECT_EQ(RunAs(60003, [&] { return OpenSessions(dir, 1); }), 0);
  EXPECT_OK((*daemon)->Stop());  // so that the log is whole
  const std::vector<std::string> lines = absl::StrSplit((*daemon)->ReadLog(), '\n');
  const auto lines_of = [&](uid_t uid) {
    return std::count_if(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.find(absl::StrCat(" uid=", uid, " ")) != std::string::npos;
    });
  };
  EXPECT_GE(lines_of(60002), 500);
  EXPECT_LT(lines_of(60002), kSessions);
  EXPECT_EQ(lines_of(60003), 2);
}

}  // namespace
}  // namespace nodecomm
