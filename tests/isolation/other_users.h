// Being other users, in child processes. Needs root.
#pragma once

#include <grp.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>

namespace nodecomm {

inline void Become(uid_t uid) {
  if (setgroups(0, nullptr) != 0 || setresgid(uid, uid, uid) != 0 ||
      setresuid(uid, uid, uid) != 0) {
    _exit(90);
  }
}

// Runs `act` as a process of this user; its exit code. gRPC does not survive a fork, so the
// parent never uses it.
inline int RunAs(uid_t uid, const std::function<int()>& act) {
  const pid_t child = fork();
  if (child == 0) {
    Become(uid);
    _exit(act());
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// A test's own directory keeps others out; the daemon's in it does not.
inline void LetOthersIn(const std::string& dir) {
  for (std::filesystem::path path = dir; path != "/tmp" && path.has_relative_path();
       path = path.parent_path()) {
    std::filesystem::permissions(path, std::filesystem::perms(0755));
  }
}

}  // namespace nodecomm
