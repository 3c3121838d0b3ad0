#include "daemon/session/death_watcher.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <memory>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/session/liveness_lock.h"
#include "daemon/process/thread.h"
#include "proto/liveness_page.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

// A process that holds the futex of a page, as a worker's library does, and `bytes` of memory.
class Holder {
 public:
  Holder(const LivenessPage& page, size_t bytes) {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const auto lock = LivenessLock::Take(UniqueFd(dup(page.fd())));
      if (bytes > 0) {
        if (mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                 -1, 0) == MAP_FAILED)
          _exit(1);
      }
      if (write(ready[1], "", lock.ok() ? 1 : 0) != 1) _exit(1);
      while (true) pause();
    }
    close(ready[1]);
    char byte;
    ready_ = read(ready[0], &byte, 1) == 1;
    close(ready[0]);
  }
  ~Holder() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  bool ready() const { return ready_; }
  void Kill() const { kill(pid_, SIGKILL); }
  bool HasEnded() const {
    siginfo_t info = {};
    return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == pid_;
  }

 private:
  pid_t pid_;
  bool ready_ = false;
};

class DeathWatcherTest : public testing::Test {
 protected:
  std::shared_ptr<LivenessPage> Page() {
    auto page = LivenessPage::Create();
    EXPECT_OK(page);
    return *page;
  }
  absl::Time TimeOfDeath(uint64_t id) {
    absl::MutexLock lock(&mu_);
    const auto told = [&] {
      mu_.AssertReaderHeld();
      return deaths_.contains(id);
    };
    EXPECT_TRUE(mu_.AwaitWithTimeout(absl::Condition(&told), kTestTimeout));
    return deaths_[id];
  }
  size_t Deaths() {
    absl::MutexLock lock(&mu_);
    return deaths_.size();
  }

  absl::Mutex mu_;
  std::map<uint64_t, absl::Time> deaths_ ABSL_GUARDED_BY(mu_);
  DeathWatcher watcher_{[this](uint64_t id) {
    absl::MutexLock lock(&mu_);
    EXPECT_TRUE(deaths_.emplace(id, absl::Now()).second) << "told twice";
  }};
};

TEST_F(DeathWatcherTest, TellsOfADeathBeforeTheProcessesMemoryIsGone) {
  const std::shared_ptr<LivenessPage> page = Page();
  const Holder holder(*page, size_t{512} << 20);
  ASSERT_TRUE(holder.ready());
  watcher_.Watch(1, page);
  // So that the thread waits, mostly: it must work either way.
  absl::SleepFor(absl::Milliseconds(5));
  const absl::Time killed = absl::Now();
  holder.Kill();
  const absl::Duration told = TimeOfDeath(1) - killed;
  const bool ended_by_then = holder.HasEnded();
  RecordProperty("told_us", static_cast<int>(absl::ToInt64Microseconds(told)));
  EXPECT_LT(told, absl::Milliseconds(50));
  EXPECT_FALSE(ended_by_then) << "512 MiB take longer to unmap than the futex to be released";
}

TEST_F(DeathWatcherTest, TellsOfOneThatDiedBeforeItWasWatched) {
  const std::shared_ptr<LivenessPage> page = Page();
  {
    const Holder holder(*page, 0);
    ASSERT_TRUE(holder.ready());
  }
  watcher_.Watch(3, page);
  TimeOfDeath(3);
}

TEST_F(DeathWatcherTest, WatchesMoreThanOneSystemCallCan) {
  constexpr uint64_t kPages = 300;
  std::vector<std::shared_ptr<LivenessPage>> pages;
  std::vector<std::unique_ptr<LivenessLock>> locks;  // held by this thread, which lives
  for (uint64_t id = 0; id < kPages; ++id) {
    pages.push_back(Page());
    auto lock = LivenessLock::Take(UniqueFd(dup(pages.back()->fd())));
    ASSERT_OK(lock);
    locks.push_back(*std::move(lock));
    watcher_.Watch(id, pages.back());
  }
  const std::shared_ptr<LivenessPage> page = Page();
  const Holder holder(*page, 0);
  ASSERT_TRUE(holder.ready());
  watcher_.Watch(kPages, page);
  holder.Kill();
  TimeOfDeath(kPages);
  EXPECT_EQ(Deaths(), 1u);
}

TEST_F(DeathWatcherTest, DoesWithoutAThreadWhereThereIsNone) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, for a user who has no processes yet";
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    if (setrlimit(RLIMIT_NPROC, &none) != 0 || setuid(60009) != 0) _exit(2);
    if (Thread::Start([] {}).ok()) _exit(3);
    auto page = LivenessPage::Create();
    if (!page.ok()) _exit(4);
    DeathWatcher watcher([](uint64_t) {});
    watcher.Watch(1, *std::move(page));
    watcher.Forget(1);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(DeathWatcherTest, IsSilentAboutAnHonestEndAndAForgottenPage) {
  const std::shared_ptr<LivenessPage> left = Page();
  auto lock = LivenessLock::Take(UniqueFd(dup(left->fd())));
  ASSERT_OK(lock);
  watcher_.Watch(1, left);
  const std::shared_ptr<LivenessPage> forgotten = Page();
  const Holder holder(*forgotten, 0);
  ASSERT_TRUE(holder.ready());
  watcher_.Watch(2, forgotten);
  watcher_.Forget(2);
  watcher_.Forget(77);
  lock->reset();
  holder.Kill();
  // A third death, told after whatever the first two would have brought.
  const std::shared_ptr<LivenessPage> page = Page();
  const Holder last(*page, 0);
  ASSERT_TRUE(last.ready());
  watcher_.Watch(3, page);
  last.Kill();
  TimeOfDeath(3);
  EXPECT_EQ(Deaths(), 1u);
}

// A worker may write what it likes into its page, and wake whoever waits there.
TEST_F(DeathWatcherTest, WorkerThatPlaysWithItsPageKeepsNobodyBusy) {
  const std::shared_ptr<LivenessPage> page = Page();
  std::atomic_ref<uint32_t> word(*page->word());
  word = 1;
  watcher_.Watch(1, page);
  std::atomic<bool> stop = false;
  std::thread player([&] {
    for (uint32_t value = 1; !stop; value = value % kFutexThreadMask + 1) word = value;
  });
  const std::shared_ptr<LivenessPage> honest = Page();
  const Holder holder(*honest, 0);
  ASSERT_TRUE(holder.ready());
  watcher_.Watch(2, honest);
  holder.Kill();
  TimeOfDeath(2);
  timespec before = {};
  timespec after = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  stop = true;
  player.join();
  absl::SleepFor(absl::Milliseconds(100));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  EXPECT_LT(absl::DurationFromTimespec(after) - absl::DurationFromTimespec(before),
            absl::Milliseconds(50))
      << "the watcher spins";
  EXPECT_EQ(Deaths(), 1u);
}

}  // namespace
}  // namespace nodecomm
