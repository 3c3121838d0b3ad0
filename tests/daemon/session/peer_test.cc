#include "daemon/session/peer.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
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

// Stopped by a tracer before it begins to end, as a driver's system call may hold it up.
TEST(LivesOn, NotIfAProcessWasKilledAndIsHeldUp) {
  const pid_t child = fork();
  if (child == 0) {
    while (true) pause();
  }
  ASSERT_EQ(ptrace(PTRACE_SEIZE, child, nullptr, PTRACE_O_TRACEEXIT), 0);
  EXPECT_TRUE(LivesOn(child));
  kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, __WALL), child);
  ASSERT_EQ(status >> 8, SIGTRAP | PTRACE_EVENT_EXIT << 8);
  EXPECT_FALSE(LivesOn(child));
  ptrace(PTRACE_CONT, child, nullptr, nullptr);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace nodecomm
