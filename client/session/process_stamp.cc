#include "client/session/process_stamp.h"

#include <pthread.h>

#include <atomic>

namespace nodecomm {
namespace {

// How many forks lie between the process that loaded the library and this one.
std::atomic<uint64_t> fork_count = 0;

void CountFork() { fork_count.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

ProcessStamp::ProcessStamp() {
  // Once a process; a child inherits the handler.
  static int registered = pthread_atfork(nullptr, nullptr, &CountFork);
  static_cast<void>(registered);
  forks_ = ForkCount();
}

uint64_t ProcessStamp::ForkCount() { return fork_count.load(std::memory_order_relaxed); }

}  // namespace nodecomm
