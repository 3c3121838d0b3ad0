#include "daemon/session/pid_namespace.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace nodecomm {
namespace {

TEST(PidNamespace, OfTheHostIsKnownByItsInode) {
  EXPECT_TRUE(IsPidNamespaceOfTheHost(4026531836));   // as readlink shows it: pid:[4026531836]
  EXPECT_FALSE(IsPidNamespaceOfTheHost(4026531837));  // the host's user namespace
  EXPECT_FALSE(IsPidNamespaceOfTheHost(4026532415));
}

TEST(PidNamespace, OfThisProcessIsWhatTheKernelSays) {
  EXPECT_EQ(SeesProcessesOfTheHost(),
            std::filesystem::read_symlink("/proc/self/ns/pid") == "pid:[4026531836]");
}

}  // namespace
}  // namespace nodecomm
