// Waiting with a deadline that no step of the host's time moves. Abseil's own timed waits do not
// do: those of Debian 12's version go by the wall clock, also those that take a duration, and last
// an hour longer where the host is set back by one. Not for waits without a deadline, for which
// absl::Condition is better.
#pragma once

#include <condition_variable>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/base/steady_clock.h"

namespace nodecomm {

// As absl::CondVar: who changes what others wait for signals it. Thread-safe. Must not be destroyed
// in a fork of the process in which somebody waited: the C library would wait for them.
class SteadyCondVar {
 public:
  void Wait(absl::Mutex* mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // True: the deadline has passed. Else somebody signalled, or nobody did.
  bool WaitUntil(absl::Mutex* mutex, SteadyTime deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // Until `settled` is true, which is asked with the lock held. False: it is not at the deadline.
  // Not analysed: that the lock which `settled` requires is `mutex`, the analysis cannot see.
  template <typename Settled>
  bool Await(absl::Mutex* mutex, SteadyTime deadline, const Settled& settled)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    while (!settled()) {
      if (WaitUntil(mutex, deadline)) return settled();
    }
    return true;
  }

  void SignalAll() { changed_.notify_all(); }

 private:
  std::condition_variable_any changed_;
};

}  // namespace nodecomm
