// Counts the connections that were given to gRPC, by user, so that one user cannot take all
// descriptors. Not their owner: gRPC is, and does not say when it closes one. So a second
// descriptor of each is watched for the hang-up. Design note: daemon/README.md, "sockets".
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "client/base/unique_fd.h"
#include "daemon/session/foreign_sockets.h"
#include "daemon/session/peer.h"
#include "daemon/session/poller.h"

namespace nodecomm {

// One thread, but for CountByUser.
class AdoptedConnections {
 public:
  struct Limit {
    int per_uid_max = 0;
    std::string_view name;  // for people, with what to do
  };

  // All outlive it; the poller's events of `kind` belong to OnHangUp.
  AdoptedConnections(Poller* poller, ForeignSockets* foreign, uint8_t kind, Limit limit)
      : poller_(poller), foreign_(foreign), kind_(kind), limit_(limit) {}

  // Counts the connection until its owner, who gets this very descriptor, has closed it.
  // ResourceExhausted: the user has as many as allowed, and the message names the process with the
  // most; or the daemon has no descriptor left.
  absl::Status Add(const UniqueFd& connection, const PeerCredentials& peer);

  size_t count() const { return watched_.size(); }
  int CountOf(uid_t uid) const;

  // Of users that have any. Thread-safe.
  std::map<uid_t, int> CountByUser() const;

  // Shuts the user's connections down and drops what their owner has not read yet.
  void CutOff(uid_t uid) const;

  // Shuts down what a process had that has ended: a fork that lives may hold copies, with which it
  // can do nothing. Their owner closes them.
  void ProcessEnded(const PeerCredentials& process) const;

  void OnHangUp(uint64_t id);

  // When RunTimers() has something to do next; InfiniteFuture if never.
  SteadyTime NextDeadline() const;
  void RunTimers(SteadyTime now);

 private:
  struct Watched {
    // Keeps the socket open after gRPC has closed its own descriptor, but gRPC shuts a socket down
    // before that, which counts as a hang-up here.
    UniqueFd duplicate;
    int owners_fd = -1;
    PeerCredentials peer;
  };

  // The user's process that has the most, in words; empty: its id is hidden from the daemon.
  std::string MostOf(uid_t uid) const;

  // False: its owner has it still.
  bool ForgetIfClosed(uint64_t id);

  Poller* const poller_;
  ForeignSockets* const foreign_;
  const uint8_t kind_;
  const Limit limit_;
  uint64_t last_id_ = 0;
  absl::flat_hash_map<uint64_t, Watched> watched_;
  mutable absl::Mutex mu_;
  std::map<uid_t, int> count_by_uid_ ABSL_GUARDED_BY(mu_);
  // Those that hung up and that gRPC keeps: calls of theirs still wait for their answers, and a
  // peer that closed only its own half can have many wait. Still counted.
  std::vector<uint64_t> hung_up_;
  SteadyTime look_again_ = SteadyTime::InfiniteFuture();
};

}  // namespace nodecomm
