#include "daemon/session/death_watcher.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "daemon/process/thread.h"
#include "proto/liveness_page.h"

namespace nodecomm {
namespace {

// futex_waitv(2), Linux 5.16; older headers name neither it nor its argument.
constexpr long kSysFutexWaitv = 449;
constexpr size_t kFutexesMax = 128;  // of one call; the kernel's own bound
constexpr uint32_t kFutex32 = 2;
struct WaitedFutex {
  uint64_t value = 0;
  uint64_t address = 0;
  uint32_t flags = 0;
  uint32_t reserved = 0;
};

// Where the kernel has no futex_waitv, the words are looked at this often.
constexpr timespec kPollInterval = {.tv_sec = 0, .tv_nsec = 5'000'000};

// Wake-ups without cause that one worker may bring about before its page is dropped.
constexpr int kIdleWakesMax = 16;

std::atomic_ref<uint32_t> Word(uint32_t* word) { return std::atomic_ref<uint32_t>(*word); }

WaitedFutex WaitFor(uint32_t* word, uint32_t value) {
  return {.value = value,
          .address = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(word)),
          .flags = kFutex32,
          .reserved = 0};
}

// The index of the futex that was woken; -1: none, look at all.
int WaitForAny(std::array<WaitedFutex, kFutexesMax>& futexes, size_t count) {
  const long woken = syscall(kSysFutexWaitv, futexes.data(), count, 0, nullptr, CLOCK_MONOTONIC);
  if (woken >= 0) return static_cast<int>(woken);
  if (errno != EAGAIN && errno != EINTR) nanosleep(&kPollInterval, nullptr);
  return -1;
}

}  // namespace

// Up to kPagesMax pages and the thread that waits for them.
class DeathRow {
 public:
  static constexpr size_t kPagesMax = kFutexesMax - 1;  // the first futex is the row's own

  // Null: no thread is to be had.
  static std::unique_ptr<DeathRow> Start(const DeathWatcher::Died* died) {
    std::unique_ptr<DeathRow> row(new DeathRow(died));
    absl::StatusOr<Thread> thread = Thread::Start([raw = row.get()] { raw->Run(); });
    if (!thread.ok()) return nullptr;
    row->thread_ = *std::move(thread);
    return row;
  }
  ~DeathRow() {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
    }
    Wake();
    thread_.Join();
  }

  bool Add(uint64_t id, std::shared_ptr<LivenessPage> page) {
    {
      absl::MutexLock lock(&mu_);
      if (pages_.size() == kPagesMax) return false;
      pages_.emplace(id, Entry{.page = std::move(page)});
    }
    Wake();
    return true;
  }

  // The thread may be telling of it just now, and lets the page go at its next turn.
  bool Remove(uint64_t id) {
    {
      absl::MutexLock lock(&mu_);
      if (pages_.erase(id) == 0) return false;
    }
    Wake();
    return true;
  }

 private:
  explicit DeathRow(const DeathWatcher::Died* died) : died_(died) {}

  struct Entry {
    std::shared_ptr<LivenessPage> page;
    // What the word held when it was last waited for; 0: not yet.
    uint32_t armed = 0;
    int idle_wakes = 0;
  };
  void Wake() {
    Word(&wakes_).fetch_add(1, std::memory_order_release);
    syscall(SYS_futex, &wakes_, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }

  enum class State { kAlive, kDied, kUnknown };

  // Makes the kernel wake us when the holder dies.
  static State Arm(Entry& entry) {
    auto word = Word(entry.page->word());
    uint32_t value = word.load(std::memory_order_acquire);
    if ((value & kFutexOwnerDied) != 0) return State::kDied;
    if ((value & kFutexThreadMask) == 0) return State::kUnknown;
    // An honest holder never changes it.
    if (entry.armed != 0 && value != entry.armed) return State::kUnknown;
    if ((value & kFutexWaiters) == 0) {
      if (!word.compare_exchange_strong(value, value | kFutexWaiters)) {
        return (value & kFutexOwnerDied) != 0 ? State::kDied : State::kUnknown;
      }
      value |= kFutexWaiters;
    }
    entry.armed = value;
    return State::kAlive;
  }

  void Run() {
    std::array<WaitedFutex, kFutexesMax> futexes;
    std::array<uint64_t, kFutexesMax> ids = {};
    int woken = -1;
    while (true) {
      std::vector<std::shared_ptr<LivenessPage>> waited;  // mapped while the kernel looks at them
      std::vector<uint64_t> died;
      size_t count = 1;
      {
        absl::MutexLock lock(&mu_);
        if (stopping_) return;
        futexes[0] = WaitFor(&wakes_, Word(&wakes_).load(std::memory_order_acquire));
        if (woken > 0) CountIdleWake(ids[static_cast<size_t>(woken)]);
        for (auto it = pages_.begin(); it != pages_.end();) {
          const State state = Arm(it->second);
          if (state == State::kDied) died.push_back(it->first);
          if (state != State::kAlive) {
            pages_.erase(it++);
            continue;
          }
          ids[count] = it->first;
          futexes[count++] = WaitFor(it->second.page->word(), it->second.armed);
          waited.push_back(it->second.page);
          ++it;
        }
      }
      for (const uint64_t id : died) (*died_)(id);
      woken = WaitForAny(futexes, count);
    }
  }

  void CountIdleWake(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const auto found = pages_.find(id);
    if (found == pages_.end()) return;
    // A death has changed the word, which Arm sees next; whoever wakes us without is counted.
    if (++found->second.idle_wakes > kIdleWakesMax) pages_.erase(found);
  }

  const DeathWatcher::Died* const died_;  // the watcher's, which outlives its rows
  uint32_t wakes_ = 0;                    // a futex: Wake() counts it up
  absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::flat_hash_map<uint64_t, Entry> pages_ ABSL_GUARDED_BY(mu_);
  Thread thread_;
};

DeathWatcher::DeathWatcher(Died died) : died_(std::move(died)) {}

DeathWatcher::~DeathWatcher() = default;

void DeathWatcher::Watch(uint64_t id, std::shared_ptr<LivenessPage> page) {
  absl::MutexLock lock(&mu_);
  for (const auto& row : rows_) {
    if (row->Add(id, page)) return;
  }
  std::unique_ptr<DeathRow> row = DeathRow::Start(&died_);
  if (row == nullptr) return;  // the session's pidfd tells, later
  row->Add(id, std::move(page));
  rows_.push_back(std::move(row));
}

void DeathWatcher::Forget(uint64_t id) {
  absl::MutexLock lock(&mu_);
  for (const auto& row : rows_) {
    if (row->Remove(id)) return;
  }
}

}  // namespace nodecomm
