#include "client/base/spare_threads.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <span>
#include <vector>

namespace nodecomm {
namespace {

constexpr int kPollsMax = 1000;
constexpr useconds_t kPollIntervalUs = 100;

struct Helper {
  const std::atomic<bool>* all_made = nullptr;
  pthread_t thread{};
  pid_t id = 0;  // the kernel's; once it has been joined
};

void* WaitForIt(void* argument) {
  auto* const helper = static_cast<Helper*>(argument);
  helper->id = gettid();
  helper->all_made->wait(false);
  return nullptr;
}

// A thread that has been joined still counts for a moment, and whoever makes the next must not fail
// for that.
void WaitUntilGone(pid_t id, int& polls) {
  while (polls < kPollsMax && tgkill(getpid(), id, 0) == 0) {
    ++polls;
    usleep(kPollIntervalUs);
  }
}

}  // namespace

int ProcessorsOfGrpc() { return static_cast<int>(sysconf(_SC_NPROCESSORS_CONF)); }

SpareThreads CountSpareThreads(int wanted) {
  // All at the same moment, since that is what is bounded.
  std::atomic<bool> all_made = false;
  std::vector<Helper> helpers(wanted, {.all_made = &all_made});
  SpareThreads spare;
  // The application's signals are not for them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (spare.count < wanted && spare.next.ok()) {
    Helper& helper = helpers[spare.count];
    // Not std::thread, which throws.
    const int error = pthread_create(&helper.thread, nullptr, &WaitForIt, &helper);
    if (error == 0) {
      ++spare.count;
    } else {
      spare.next = absl::ErrnoToStatus(error, "starting a thread");
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  all_made = true;
  all_made.notify_all();
  const std::span<const Helper> made(helpers.data(), static_cast<size_t>(spare.count));
  for (const Helper& helper : made) pthread_join(helper.thread, nullptr);
  int polls = 0;
  for (const Helper& helper : made) WaitUntilGone(helper.id, polls);
  return spare;
}

}  // namespace nodecomm
