// Which of a few servers a user's connections go to: a server of its own as long as there are
// enough. No gRPC here. Design note: daemon/service/README.md.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <map>
#include <set>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace nodecomm {

// For workers. Each costs a thread and 25 KiB.
inline constexpr size_t kControlServers = 16;

// Thread-safe.
class UserServers {
 public:
  explicit UserServers(size_t servers) : users_(servers) {}

  // The server of the user's next connection: that of its earlier ones, else one that nobody has,
  // else one with the fewest users. `connected` are those that have connections now; others lose
  // their server when somebody needs it.
  size_t ServerOf(uid_t uid, const std::map<uid_t, int>& connected);

 private:
  size_t Emptiest() const ABSL_SHARED_LOCKS_REQUIRED(mu_);

  absl::Mutex mu_;
  std::vector<std::set<uid_t>> users_ ABSL_GUARDED_BY(mu_);  // by server
};

}  // namespace nodecomm
