#include "daemon/main/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "daemon/main/command_line.h"

namespace nodecomm {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);

// Each in a process of its own: what is blocked and handled stays so.
TEST(ExitAlarmDeathTest, EndsAProcessWhoseMainThreadIsStuck) {
  EXPECT_EXIT(
      {
        BlockSignals();
        const ExitAlarm alarm(absl::Milliseconds(20), "the servers are stuck");
        while (true) pause();
      },
      testing::ExitedWithCode(kExitFailure), "the servers are stuck\n");
}

TEST(ExitAlarmDeathTest, ThatIsOverDoesNothing) {
  EXPECT_EXIT(
      {
        BlockSignals();
        { const ExitAlarm alarm(absl::Milliseconds(20), "the servers are stuck"); }
        // Nothing of it is left to come.
        if (WaitForSignal(absl::Milliseconds(60)).has_value()) _exit(2);
        _exit(kExitOk);
      },
      testing::ExitedWithCode(kExitOk), "^$");
}

TEST(ExitAlarmDeathTest, IsNotSetOffByOthers) {
  EXPECT_EXIT(
      {
        BlockSignals();
        {
          const ExitAlarm alarm(kLong, "the servers are stuck");
          kill(getpid(), SIGALRM);
        }
        _exit(kExitOk);
      },
      testing::ExitedWithCode(kExitOk), "^$");
}

}  // namespace
}  // namespace nodecomm
