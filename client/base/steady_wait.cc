#include "client/base/steady_wait.h"

#include <algorithm>
#include <chrono>

#include "absl/time/time.h"

namespace nodecomm {
namespace {

// An absl::Mutex by the names that the standard library gives a lock's functions.
class Lockable {
 public:
  explicit Lockable(absl::Mutex* mutex) : mutex_(mutex) {}
  void lock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_->Lock(); }
  void unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_->Unlock(); }

 private:
  absl::Mutex* const mutex_;  // the waiter's, which outlives its wait
};

}  // namespace

void SteadyCondVar::Wait(absl::Mutex* mutex) {
  Lockable lockable(mutex);
  changed_.wait(lockable);
}

bool SteadyCondVar::WaitUntil(absl::Mutex* mutex, SteadyTime deadline) {
  if (deadline == SteadyTime::InfiniteFuture()) {
    Wait(mutex);
    return false;
  }
  Lockable lockable(mutex);
  // The standard library's steady clock is the same one, and its wait goes by it
  // (pthread_cond_clockwait), which the test holds it to.
  const std::chrono::steady_clock::time_point until(
      absl::ToChronoNanoseconds(std::max(deadline, SteadyTime()) - SteadyTime()));
  return changed_.wait_until(lockable, until) == std::cv_status::timeout;
}

}  // namespace nodecomm
