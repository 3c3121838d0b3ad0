// Says within a fraction of a millisecond that a worker has died: waits on the robust futexes of
// all workers' liveness pages. Not the end of a session: the dying process still holds its memory
// and descriptors, and its pidfd tells when it has let go. Design note: daemon/README.md, "death".
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "daemon/session/liveness_page.h"

namespace nodecomm {

class DeathRow;

// Thread-safe.
class DeathWatcher {
 public:
  // Called on a thread of the watcher, with no lock held, at most once for each watched page.
  using Died = std::function<void(uint64_t id)>;

  explicit DeathWatcher(Died died);
  // Joins its threads; `died` is not called afterwards.
  ~DeathWatcher();
  DeathWatcher(const DeathWatcher&) = delete;
  DeathWatcher& operator=(const DeathWatcher&) = delete;

  // From the moment that the worker says that it holds the page's futex. A page that turns out not
  // to be held, or whose worker plays with it, is dropped without a word, and so is one for which
  // there is no thread: then the session's pidfd and socket tell.
  void Watch(uint64_t id, std::shared_ptr<LivenessPage> page);
  // An unknown id is no error. `died` may still be called for `id` a moment later.
  void Forget(uint64_t id);

 private:
  const Died died_;
  absl::Mutex mu_;
  // One system call waits for a bounded number of futexes, so there is one thread for each so many.
  std::vector<std::unique_ptr<DeathRow>> rows_ ABSL_GUARDED_BY(mu_);
};

}  // namespace nodecomm
