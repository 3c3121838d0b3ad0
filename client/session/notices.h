// What the daemon is told and need not answer for this process to go on: that a rank has left, that
// memory was unmapped, that a group has failed. What it cannot be told while it is away it is told
// when it is back, in order. Not for calls that wait for something. Design note: client/README.md,
// "session".
#pragma once

#include <cstddef>
#include <deque>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace nodecomm {

// Thread-safe.
class Notices {
 public:
  // A call that may be made twice: the first may have arrived though its answer did not.
  using Notice = std::function<absl::Status(absl::Duration timeout)>;

  // More are dropped. A process has one or two for each group and shared buffer that it holds.
  static constexpr size_t kKeptMax = 4096;

  // The call's status; made again at once if that is Unavailable. If it could not be delivered
  // (Unavailable, DeadlineExceeded, or ResourceExhausted where the daemon takes no more calls now)
  // it is kept.
  absl::Status Tell(Notice notice, absl::Duration timeout);

  // Delivers what was kept, up to the first that still cannot be.
  void TellKept(absl::Duration timeout);

 private:
  void Keep(Notice notice);

  absl::Mutex mutex_;
  std::deque<Notice> kept_ ABSL_GUARDED_BY(mutex_);
  bool telling_ ABSL_GUARDED_BY(mutex_) = false;  // some thread is in TellKept
};

}  // namespace nodecomm
