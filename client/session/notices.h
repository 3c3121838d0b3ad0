// What the daemon is told and need not answer for this process to go on: that a rank has left, that
// memory was unmapped, that a group has failed. What it cannot be told now, since it is away or
// takes no more calls, it is told later, in order. Not for calls that wait for something. Design
// note: client/README.md, "session".
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"

namespace nodecomm {

// Thread-safe.
class Notices {
 public:
  // A call that may be made twice: the first may have arrived though its answer did not.
  using Notice = std::function<absl::Status(absl::Duration timeout)>;

  // More are dropped. A process has one or two for each group and shared buffer that it holds.
  static constexpr size_t kKeptMax = 4096;
  // One that is refused for that long (ResourceExhausted) is dropped: those behind it wait for it.
  static constexpr absl::Duration kRefusedMax = absl::Minutes(2);
  // By whoever tells what was kept, who is needed for other things.
  static constexpr absl::Duration kTellTimeoutMin = absl::Seconds(2);
  static constexpr absl::Duration kTellTimeoutMax = absl::Seconds(10);
  // By who has something to tell a daemon that hangs.
  static constexpr absl::Duration kHangingTimeout = absl::Milliseconds(100);

  // `retry_later` is to have TellKept called after a while. It is called with no lock held when
  // something could not be told.
  explicit Notices(std::function<void()> retry_later, absl::Duration refused_max = kRefusedMax)
      : retry_later_(std::move(retry_later)), refused_max_(refused_max) {}

  // The call's status; made again at once if that is Unavailable. If it could not be delivered it
  // is kept. Where one before it met its deadline, that one is tried again for a moment only, and
  // this one kept if it still cannot be told: a daemon that hangs costs its callers one deadline,
  // not one a call.
  absl::Status Tell(Notice notice, absl::Duration timeout);
  // Whether Tell, which gave this status, has kept the call: Unavailable, DeadlineExceeded, or
  // ResourceExhausted, where the daemon takes no more calls now.
  static bool IsKept(const absl::Status& told);

  // Delivers what was kept, up to the first that still cannot be, for as long as one call may take.
  // Each that meets its deadline lets the next take twice as long, ten seconds at most: a daemon
  // that is slow is told all the same.
  void TellKept();
  // Another daemon than the one that was slow.
  void DaemonIsBack();

 private:
  struct Kept {
    Notice notice;
    SteadyTime refused_since = SteadyTime::InfiniteFuture();
  };

  void Keep(Notice notice) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsRefusedForGood(const absl::Status& told, Kept& kept) const;
  bool DaemonHangs() const;
  // The status of the last call. Nothing: none was made, since nothing is kept or somebody else
  // tells it.
  std::optional<absl::Status> TellKeptFor(absl::Duration timeout);

  const std::function<void()> retry_later_;
  const absl::Duration refused_max_;
  mutable absl::Mutex mutex_;
  std::deque<Kept> kept_ ABSL_GUARDED_BY(mutex_);
  bool telling_ ABSL_GUARDED_BY(mutex_) = false;  // some thread is in TellKept
  bool hangs_ ABSL_GUARDED_BY(mutex_) = false;    // the last call that was kept met its deadline
  absl::Duration tell_timeout_ ABSL_GUARDED_BY(mutex_) = kTellTimeoutMin;
};

}  // namespace nodecomm
