// An FdCourier for tests: keeps what it is given, by transfer.
#pragma once

#include <cstddef>
#include <map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "daemon/group/fd_courier.h"

namespace nodecomm {

// Thread-safe.
class FakeFdCourier final : public FdCourier {
 public:
  struct Transfer {
    SessionId session;
    std::vector<UniqueFd> fds;
  };

  uint64_t Send(SessionId session, std::vector<UniqueFd> fds) override {
    absl::MutexLock lock(&mu_);
    const uint64_t id = next_id_++;
    transfers_.emplace(id, Transfer{session, std::move(fds)});
    return id;
  }

  // What was sent as `id`, once; an empty one of session 0 if nothing was.
  Transfer Take(uint64_t id) {
    absl::MutexLock lock(&mu_);
    auto node = transfers_.extract(id);
    return node.empty() ? Transfer{} : std::move(node.mapped());
  }
  size_t untaken() const {
    absl::MutexLock lock(&mu_);
    return transfers_.size();
  }

 private:
  mutable absl::Mutex mu_;
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<uint64_t, Transfer> transfers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace nodecomm
