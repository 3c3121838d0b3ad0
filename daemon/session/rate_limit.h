// How often each user may do something: a bucket of tokens for each, which fills steadily. Not a
// bound on how much a user holds at a time: those are counted where it is held.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstddef>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"

namespace nodecomm {

// Thread-safe.
class RateLimit {
 public:
  // `burst`: how many at once after a pause.
  RateLimit(int per_second, int burst) : per_second_(per_second), burst_(burst) {}

  // Whether the user may do it now; if so, it counts.
  bool Take(uid_t uid, SteadyTime now) {
    absl::MutexLock lock(&mu_);
    if (buckets_.size() >= kUsersMax) ForgetIdle(now);
    Bucket& bucket = buckets_.try_emplace(uid, Bucket{burst_, now}).first->second;
    bucket.tokens = Filled(bucket, now);
    bucket.time = now;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

 private:
  // More users than that are remembered only while they are busy.
  static constexpr size_t kUsersMax = 1024;

  struct Bucket {
    double tokens;
    SteadyTime time;
  };

  double Filled(const Bucket& bucket, SteadyTime now) const {
    const double passed = std::max(0.0, absl::ToDoubleSeconds(now - bucket.time));
    return std::min(burst_, bucket.tokens + passed * per_second_);
  }

  void ForgetIdle(SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    absl::erase_if(buckets_,
                   [&](const auto& entry) { return Filled(entry.second, now) >= burst_; });
  }

  const double per_second_;
  const double burst_;
  absl::Mutex mu_;
  absl::flat_hash_map<uid_t, Bucket> buckets_ ABSL_GUARDED_BY(mu_);
};

}  // namespace nodecomm
