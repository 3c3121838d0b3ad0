// A clock that nobody sets, and its times: durations and deadlines go by it, since a host's time
// may be put right by any step. Not for what people read or a file keeps: its zero is some moment
// of this boot. Waiting for one of its times: steady_wait.h.
#pragma once

#include <time.h>

#include <compare>

#include "absl/time/time.h"

namespace nodecomm {

// As absl::Time, but of a type of its own, which the compiler does not mix with it.
class SteadyTime {
 public:
  // The clock's zero.
  constexpr SteadyTime() = default;
  static SteadyTime InfiniteFuture() { return SteadyTime(absl::InfiniteDuration()); }
  static SteadyTime InfinitePast() { return SteadyTime(-absl::InfiniteDuration()); }

  std::strong_ordering operator<=>(const SteadyTime& other) const = default;
  friend SteadyTime operator+(SteadyTime time, absl::Duration by) {
    return SteadyTime(time.since_zero_ + by);
  }
  friend SteadyTime operator-(SteadyTime time, absl::Duration by) {
    return SteadyTime(time.since_zero_ - by);
  }
  friend absl::Duration operator-(SteadyTime later, SteadyTime earlier) {
    return later.since_zero_ - earlier.since_zero_;
  }

 private:
  explicit SteadyTime(absl::Duration since_zero) : since_zero_(since_zero) {}

  absl::Duration since_zero_;
};

inline SteadyTime SteadyNow() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);  // cannot fail
  return SteadyTime() + absl::DurationFromTimespec(now);
}

}  // namespace nodecomm
