// Bounds how often a kind of line is logged that strangers can cause as often as they like.
// Not the log (log.h). Design note: daemon/main/README.md, "rules".
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "daemon/session/rate_limit.h"

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

// Of what a user does all day: a job of 256 workers begins and ends with some 600 lines. Without a
// pause that is 100 MB a day.
inline constexpr int kUserLinesPerSecondMax = 10;
inline constexpr int kUserLinesBurst = 1000;

// The same of lines that each user causes, so that none fills the log, or takes others' place in
// it. Thread-safe.
class UserLogLimit {
 public:
  // `burst`: lines at once after a pause.
  UserLogLimit(int lines_per_second, int burst) : rate_(lines_per_second, burst) {}

  // How many of the user's were left out since its last line, if there may be one now.
  std::optional<int> Take(uid_t uid, SteadyTime now);

 private:
  RateLimit rate_;
  absl::Mutex mu_;
  std::map<uid_t, int> left_out_ ABSL_GUARDED_BY(mu_);  // of users who are over it
};

// What ends the next line that is written: how many were left out, or nothing.
std::string LeftOut(int lines);

}  // namespace nodecomm
