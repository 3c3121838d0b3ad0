// A clock that nobody sets: sessions must not end because the host's time was put right. Its times
// are good for comparing with each other only.
#pragma once

#include <time.h>

#include "absl/time/time.h"

namespace nodecomm {

inline absl::Time SteadyNow() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);  // cannot fail
  return absl::UnixEpoch() + absl::DurationFromTimespec(now);
}

}  // namespace nodecomm
