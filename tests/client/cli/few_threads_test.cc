// The client in a process that may have few threads, as with a low pids.max: in a child, whose
// threads are counted by a pthread_create of our own.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "client/base/spare_threads.h"
#include "client/cli/admin_client.h"
#include "tests/client/cli/fake_admin.h"

namespace nodecomm {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::atomic<int> threads_left = INT_MAX;

constexpr int kHungCode = 200;
constexpr unsigned kHangS = 20;
// As client/base/grpc_room.cc has them, beside those for events.
constexpr int kOtherThreads = 8;

// A child that runs `work` once a server listens, which must be after the fork.
class Child {
 public:
  explicit Child(absl::FunctionRef<std::string()> work) {
    EXPECT_EQ(pipe(start_.data()), 0);
    EXPECT_EQ(pipe(says_.data()), 0);
    pid_ = fork();
    if (pid_ != 0) return;
    char go = 0;
    if (read(start_[0], &go, 1) != 1) _exit(kHungCode);
    alarm(kHangS);
    const std::string message = work();
    if (write(says_[1], message.data(), message.size()) < 0) _exit(kHungCode);
    exit(0);  // as nodecommctl ends
  }
  ~Child() {
    for (const int fd : {start_[0], start_[1], says_[0]}) close(fd);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // What `work` returned; "hung" if the child did not end by itself.
  std::string Run() {
    EXPECT_EQ(write(start_[1], "x", 1), 1);
    close(says_[1]);
    int state = 0;
    EXPECT_EQ(waitpid(pid_, &state, 0), pid_);
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0) return "hung";
    std::array<char, 1000> text = {};
    const ssize_t got = read(says_[0], text.data(), text.size());
    return {text.data(), got > 0 ? static_cast<size_t>(got) : 0};
  }

 private:
  std::array<int, 2> start_ = {};
  std::array<int, 2> says_ = {};
  pid_t pid_ = 0;
};

absl::Status AskWith(const std::string& runtime_dir, int threads) {
  threads_left = threads;
  const auto client = AdminClient::Connect(runtime_dir);
  if (!client.ok()) return client.status();
  return (*client)->GetStatus().status();
}

// Enough when they are looked for, and none left for gRPC: as where another process of the cgroup
// takes them just then.
TEST(FewThreads, AreNamedAndThoseThatGoMissingKeepNoAnswerBack) {
  const FakeRuntimeDir dir;
  Child child([&] {
    const absl::Status refused = AskWith(dir.path(), 3);
    const absl::Status asked =
        AskWith(dir.path(), EventThreadsOfGrpc(ProcessorsOfGrpc()) + kOtherThreads);
    return absl::StrCat(refused.ToString(), "\n", asked.ToString());
  });
  const FakeAdmin admin(dir, FakeAdminAnswers());
  const std::string said = child.Run();
  EXPECT_THAT(said, AllOf(StartsWith("RESOURCE_EXHAUSTED"), HasSubstr("3 more threads"),
                          HasSubstr("pids.max"), EndsWith("\nOK")));
}

}  // namespace
}  // namespace nodecomm

// Where a child ends, what gRPC holds for threads that never began is lost: LeakSanitizer's own
// name for being asked.
//
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" __attribute__((visibility("default"))) int __lsan_is_turned_off() { return 1; }

// In place of the C library's, also for gRPC.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*start)(void*), void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto kCreate = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  if (nodecomm::threads_left.fetch_sub(1) <= 0) return EAGAIN;
  return kCreate(thread, attributes, start, argument);
}
