// The open sessions: whose they are, their tokens, and the file descriptors that wait to be sent to
// them. Not the sockets: those belong to the server's thread alone. This is what other threads may
// touch. Design note: daemon/README.md, "life of a session".
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "client/base/unique_fd.h"
#include "daemon/group/group_registry.h"
#include "daemon/session/handshake.h"

namespace nodecomm {

// Transfers that wait for a worker which does not take the earlier ones. A worker has one or two a
// group.
inline constexpr size_t kTransfersQueuedMax = 64;
// File descriptors that wait for all workers of one user together, so that those who do not take
// theirs cannot use up the daemon's.
inline constexpr size_t kFdsQueuedPerUidMax = 4096;

struct Transfer {
  uint64_t id = 0;
  std::vector<UniqueFd> fds;
};

// Thread-safe.
class SessionTable {
 public:
  // `fds_queued_max`: file descriptors that wait for all workers together.
  explicit SessionTable(size_t fds_queued_max) : fds_queued_max_(fds_queued_max) {}

  // `connection` is the server's own number for the session's socket.
  void Add(uint64_t connection, const Caller& caller, const Token& token);

  // Forgets the session, its token and what waits for it. False if it was not open.
  bool Remove(SessionId session);

  // Queues a transfer and gives it an id. For a session that has ended, or has too much waiting,
  // the fds are closed; in the latter case CheckQueue() says so.
  uint64_t Queue(SessionId session, std::vector<UniqueFd> fds);

  // The connections to which something was queued since the last call.
  std::vector<uint64_t> TakeConnectionsWithNews();

  // Takes out the session's oldest waiting transfer, if there is one.
  std::optional<Transfer> Next(SessionId session);

  // ResourceExhausted: more was queued than may wait, and the session should end.
  absl::Status CheckQueue(SessionId session) const;

  struct Session {
    Caller caller;
    SteadyTime since;  // opened, or taken over from an earlier daemon
  };
  // The oldest first.
  std::vector<Session> List() const;

  std::optional<Caller> FindByToken(std::string_view token) const;

  // The connection of an open session.
  std::optional<uint64_t> ConnectionOf(SessionId session) const;
  std::vector<SessionId> Sessions() const;

  // No transfer of this table has this id or a smaller one.
  uint64_t transfers_begin() const { return transfers_begin_; }

  int size() const;

 private:
  struct Entry {
    uint64_t connection = 0;
    Caller caller;
    SteadyTime since;
    Token token;
    std::deque<Transfer> waiting;
    absl::Status overflow;  // not OK: more was queued than may wait
  };

  // A transfer leaves the queue: taken, or dropped with its session.
  void Uncount(const Entry& entry, size_t fds) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const size_t fds_queued_max_;
  mutable absl::Mutex mu_;
  size_t fds_queued_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<uid_t, size_t> fds_queued_by_uid_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<uint64_t, Entry> entries_ ABSL_GUARDED_BY(mu_);  // by session id
  std::vector<uint64_t> news_ ABSL_GUARDED_BY(mu_);  // at most one for each queued transfer
  // From the clock, so that no daemon that comes back uses a number twice: not where the host was
  // set back either, but then a worker that still asks for an earlier daemon's waits in vain, for
  // its bound.
  const uint64_t transfers_begin_ = static_cast<uint64_t>(absl::ToUnixNanos(absl::Now()));
  uint64_t last_transfer_ ABSL_GUARDED_BY(mu_) = transfers_begin_;
};

}  // namespace nodecomm
