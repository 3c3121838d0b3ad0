// Bounds how often a kind of line is logged that strangers can cause as often as they like.
// Not the log (log.h). Design note: daemon/main/README.md, "rules".
#pragma once

#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"

namespace nodecomm {

// Thread-safe.
class LogLimit {
 public:
  explicit LogLimit(int lines_per_second_max = 1) : lines_max_(lines_per_second_max) {}

  // How many were left out since the last line, if there may be one now.
  std::optional<int> Take(SteadyTime now);

 private:
  const int lines_max_;
  absl::Mutex mu_;
  SteadyTime second_ends_ ABSL_GUARDED_BY(mu_) = SteadyTime::InfinitePast();
  int lines_ ABSL_GUARDED_BY(mu_) = 0;  // in this second
  int left_out_ ABSL_GUARDED_BY(mu_) = 0;
};

// What ends the next line that is written: how many were left out, or nothing.
std::string LeftOut(int lines);

}  // namespace nodecomm
