#include "daemon/session/peer.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace nodecomm {
namespace {

TEST(LivesOn, UntilAProcessBeginsToEnd) {
  EXPECT_TRUE(LivesOn(getpid()));
  const pid_t child = fork();
  if (child == 0) _exit(0);
  // Nobody has waited for it, so it is there.
  siginfo_t ended = {};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(LivesOn(child));
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(LivesOn(child));
  EXPECT_FALSE(LivesOn(0));
}

}  // namespace
}  // namespace nodecomm
