// A worker that is out of threads after they were looked for, as where others of its cgroup take
// them just then: in a child, whose threads are counted by a pthread_create of our own.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/base/spare_threads.h"
#include "nodecomm/nodecomm.hpp"
#include "tests/support/daemon_process.h"

namespace nodecomm {
namespace {

std::atomic<int> threads_left = INT_MAX;

constexpr unsigned kHangS = 20;
// As client/base/grpc_room.cc has them, beside those for events.
constexpr int kOtherThreads = 8;
// Those that gRPC makes at once and can't do without: the last is one that its end waits for.
constexpr int kThreadsOfGrpc = 5;

bool FormsAndLeaves(const std::string& runtime_dir) {
  Options options;
  options.name = "few";
  options.world_size = 1;
  options.plane_bytes = 4 << 20;
  options.runtime_dir = runtime_dir;
  const Result<Communicator> comm = Communicator::Create(options);
  if (!comm.ok()) std::fprintf(stderr, "%s\n", comm.status().ToString().c_str());
  return comm.ok();
}

TEST(FewThreads, DestroyingTheLastCommunicatorWaitsForNone) {
  const absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon = DaemonProcess::Start(
      {.program = NODECOMM_DAEMON, .topology = NODECOMM_TOPOLOGIES "/hgx-h100-x4.textproto"});
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  const pid_t child = fork();
  if (child == 0) {
    alarm(kHangS);
    const int looked_for = EventThreadsOfGrpc(ProcessorsOfGrpc()) + kOtherThreads;
    threads_left = 1 + looked_for + kThreadsOfGrpc;  // one is the session's
    if (!FormsAndLeaves((*daemon)->runtime_dir())) _exit(1);
    // Those that gRPC has are not looked for again.
    threads_left = 1;
    _exit(FormsAndLeaves((*daemon)->runtime_dir()) ? 0 : 2);
  }
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);
  EXPECT_FALSE(WIFSIGNALED(state)) << "it hung: signal " << WTERMSIG(state);
  EXPECT_EQ(WEXITSTATUS(state), 0) << "of the two groups";
}

}  // namespace
}  // namespace nodecomm

// In place of the C library's, also for the library and for gRPC.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*start)(void*), void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto kCreate = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  if (nodecomm::threads_left.fetch_sub(1) <= 0) return EAGAIN;
  return kCreate(thread, attributes, start, argument);
}
