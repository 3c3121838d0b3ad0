#include "daemon/session/adopted_connections.h"

#include <sys/epoll.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"

namespace nodecomm {

absl::Status AdoptedConnections::Add(const UniqueFd& connection, uid_t uid) {
  const auto count = count_by_uid_.find(uid);
  if (count != count_by_uid_.end() && count->second >= per_uid_max_) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("uid %d has %d connections already, the most allowed", uid, per_uid_max_));
  }
  UniqueFd duplicate = connection.Duplicate();
  if (!duplicate.valid()) {
    return absl::ResourceExhaustedError("the daemon is out of file descriptors");
  }
  const uint64_t id = ++last_id_;
  // Hang-ups only: what there is to read is gRPC's.
  ABSL_RETURN_IF_ERROR(poller_->Add(duplicate.get(), EPOLLRDHUP, {.kind = kind_, .id = id}));
  watched_.emplace(id, Watched{.duplicate = std::move(duplicate), .uid = uid});
  ++count_by_uid_[uid];
  return absl::OkStatus();
}

void AdoptedConnections::OnHangUp(uint64_t id) {
  const auto it = watched_.find(id);
  if (it == watched_.end()) return;
  const auto count = count_by_uid_.find(it->second.uid);
  if (--count->second == 0) count_by_uid_.erase(count);
  // epoll watches the socket, which gRPC may still hold, not the descriptor: closing alone would
  // leave the watch.
  poller_->Remove(it->second.duplicate.get());
  watched_.erase(it);
}

}  // namespace nodecomm
