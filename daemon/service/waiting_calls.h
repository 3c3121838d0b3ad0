// Calls whose answer comes later, from another thread: each is answered exactly once, by whoever is
// first of the registry and the daemon's shutdown. Not gRPC: an answer is a callback. Design note:
// daemon/README.md, "calls".
#pragma once

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace nodecomm {

// Thread-safe. Shared with the callbacks that wait elsewhere, so that one which comes after the
// server has gone finds nobody rather than freed memory.
class WaitingCalls {
 public:
  using Finish = absl::AnyInvocable<void(absl::Status)>;

  // Remembers a call and gives it a number. After FailAll() it is finished at once, and has none.
  std::optional<uint64_t> Add(Finish finish);

  // The call's Finish, for the one who asks first; null for everybody after.
  Finish Take(uint64_t call);

  // Finishes every waiting call, and every later one, with `status`.
  void FailAll(const absl::Status& status);

 private:
  absl::Mutex mu_;
  uint64_t last_call_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<uint64_t, Finish> calls_ ABSL_GUARDED_BY(mu_);
  absl::Status closed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace nodecomm
