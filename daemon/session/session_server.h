// The one thread that watches sockets: accepts workers on session.sock, checks who they are, sends
// them fds, notices when they are gone; and accepts connections on control.sock and admin.sock for
// gRPC, within bounds. Not the calls themselves (daemon/service), nor what a session holds
// (daemon/group). Design note: daemon/README.md, "sockets".
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/unique_fd.h"
#include "daemon/group/fd_courier.h"
#include "daemon/group/group_registry.h"
#include "daemon/session/peer.h"
#include "daemon/session/session_news.h"
#include "daemon/session/session_records.h"
#include "daemon/session/session_table.h"
#include "nodecomm/v1/session.pb.h"

namespace nodecomm {

// Thread-safe.
class SessionServer : public FdCourier {
 public:
  struct Options {
    // Listening sockets, bound and non-blocking.
    UniqueFd session_listener = {};
    UniqueFd control_listener = {};
    UniqueFd admin_listener = {};
    v1::Platform platform = v1::PLATFORM_UNSPECIFIED;
    // What is in force, for who is welcomed. Called on the server's thread.
    std::function<absl::Duration()> rendezvous_timeout = [] { return absl::ZeroDuration(); };
    int sessions_max = 1024;
    int sessions_per_uid_max = 256;
    int control_connections_per_uid_max = 256;
    int connections_per_uid_per_second = 100;
    // How many the daemon may have open. Connections of workers may take three quarters, what waits
    // to be sent to them an eighth; the rest is for administrators, groups and the daemon itself.
    // 0: not bounded.
    size_t descriptors_max = 0;
    // How long a worker may take to say who it is.
    absl::Duration hello_timeout = absl::Seconds(5);
    // Where sessions are kept for a daemon that comes back; sessions that an earlier one left there
    // are taken over. Empty: none are.
    std::string records_dir = {};
    Predecessor predecessor = Predecessor::kEndedInOrder;
    // How long a worker of an earlier daemon may take to come back, from Start on.
    absl::Duration resume_timeout = absl::Seconds(30);
    // After how long a process that seems to have died is asked for again. It may have executed
    // another program, and a fork of what it was hold its socket for ever.
    absl::Duration dying_timeout = absl::Seconds(60);
  };
  // Called on the server's thread, with no lock held.
  struct Events {
    // The process has died, though it may hold its memory for a second yet; session_ended follows.
    absl::AnyInvocable<void(SessionId, std::string_view cause)> session_died = nullptr;
    absl::AnyInvocable<void(const Caller&, SessionEnd, std::string_view cause)> session_ended =
        nullptr;
    // Hands the connection to gRPC.
    absl::AnyInvocable<void(UniqueFd, const PeerCredentials&)> control_connected = nullptr;
    absl::AnyInvocable<void(UniqueFd)> admin_connected = nullptr;
    // For the log and the metrics.
    absl::AnyInvocable<void(const Caller&)> session_opened = nullptr;
    absl::AnyInvocable<void(const Refusal&)> refused = nullptr;
  };

  static absl::StatusOr<std::unique_ptr<SessionServer>> Create(Options options);

  // Starts the thread. Separate from Create, because who handles the events is made from the server
  // (as FdCourier).
  virtual void Start(Events events) = 0;

  // Closes listeners and sessions and joins the thread; events of ended sessions are still
  // delivered. Idempotent.
  virtual void Stop() = 0;

  // The session that this token (raw bytes) belongs to; compared in constant time.
  virtual std::optional<Caller> FindByToken(std::string_view token) const = 0;

  // Right after Create: those that were taken over.
  virtual std::vector<SessionId> Sessions() const = 0;
  // Those that an earlier daemon left and this one could not take over.
  virtual const std::vector<LostSession>& LostSessions() const = 0;

  // The oldest first.
  virtual std::vector<SessionTable::Session> List() const = 0;

  virtual int session_count() const = 0;

  // Connections to control.sock, of users that have any.
  virtual std::map<uid_t, int> ControlConnections() const = 0;

  // Closes the user's connections to control.sock, because it resets calls as fast as it can, and
  // takes none of it for a while.
  virtual void CutOff(uid_t uid) = 0;

  // Whether the thread comes round within `timeout`, now that it is woken. False before Start and
  // after Stop.
  virtual bool TakesTurns(absl::Duration timeout) = 0;
};

}  // namespace nodecomm
