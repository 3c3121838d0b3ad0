// The connections on session.sock from accept to end: limits, handshake, transfers of file
// descriptors, and noticing that a worker is gone. Not the thread or the listening sockets
// (session_server.cc), nor what other threads may ask (session_table.h). Design note:
// daemon/README.md, "life of a session".
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "client/base/unique_fd.h"
#include "daemon/group/ended_sessions.h"
#include "daemon/group/group_registry.h"
#include "daemon/session/death_watcher.h"
#include "daemon/session/foreign_sockets.h"
#include "daemon/session/liveness_page.h"
#include "daemon/session/poller.h"
#include "daemon/session/rate_limit.h"
#include "daemon/session/session_news.h"
#include "daemon/session/session_records.h"
#include "daemon/session/session_table.h"
#include "nodecomm/v1/session.pb.h"
#include "proto/framing.h"

namespace nodecomm {

// One thread: the server's.
class WorkerSessions {
 public:
  struct Options {
    v1::Platform platform = v1::PLATFORM_UNSPECIFIED;
    std::function<absl::Duration()> rendezvous_timeout;  // in force now
    RateLimit* rate = nullptr;                           // outlives this
    int sessions_max = 0;
    int sessions_per_uid_max = 0;
    // Whether there are descriptors for another of this user's; and, for people, how many the
    // connections of the user, and of all, hold.
    std::function<absl::Status(uid_t)> check_room;
    std::function<std::string(uid_t)> describe_fds;
    absl::Duration hello_timeout;
    absl::Duration resume_timeout;
    absl::Duration dying_timeout;
    std::string records_dir;
    Predecessor predecessor = Predecessor::kEndedInOrder;
    uint8_t socket_kind = 0;  // of the poller's watches
    uint8_t pidfd_kind = 0;
    std::function<void(const Caller&)> opened;
    // The process has died, but may still hold what it had; `ended` follows.
    std::function<void(const Caller&, std::string_view cause)> died;
    std::function<void(const Caller&, SessionEnd, std::string_view cause)> ended;
    std::function<void(const Refusal&)> refused;
  };

  // The others outlive it.
  WorkerSessions(Options options, Poller* poller, SessionTable* table, ForeignSockets* foreign);
  ~WorkerSessions();

  // Goes on with the sessions that an earlier daemon left: their processes are watched from now on.
  absl::Status TakeOver();
  // Those that it could not go on with.
  const std::vector<LostSession>& lost() const { return lost_; }
  // They have resume_timeout to connect again, from now, when somebody is there to take them.
  void StartResumeDeadlines();

  // Takes a connection, or refuses it and says why to the worker.
  void Accept(UniqueFd socket);

  // The poller's events.
  void OnSocket(uint64_t connection);
  void OnPidfd(uint64_t connection);

  // Those that count against the limits.
  int counted() const { return counted_; }
  int CountOf(uid_t uid) const;

  // What the threads of the death watcher found meanwhile.
  void TellDeaths();

  // Sends what was queued in the table meanwhile.
  void SendQueued();

  // When RunTimers() has something to do next; InfiniteFuture if never.
  SteadyTime NextDeadline() const;
  void RunTimers(SteadyTime now);

  void EndAll(SessionEnd end, std::string_view cause);

 private:
  struct Connection {
    uint64_t id = 0;
    UniqueFd socket;  // invalid: an earlier daemon's worker, which has not come back yet
    UniqueFd pidfd;
    Token token;
    Caller caller;  // caller.session is set when it is open
    bool open = false;
    // Counts against the limits: every session, also one that is away, so that nobody takes its
    // place. It comes back by another connection, which finds them reached then; so that one does
    // not count until it has said whose it is.
    bool counted = false;
    // Has come back, but may not have its welcome yet: until it says that it is alive, it may lose
    // this connection and come back by another one.
    bool resuming = false;
    SteadyTime resume_deadline = SteadyTime::InfinitePast();  // of one that was taken over
    std::shared_ptr<LivenessPage> liveness;
    // By this connection. One that is still resuming has not, so there is nothing to take back.
    bool said_alive = false;
    bool watched_for_death = false;
    // Sent, and the worker has not said that it took them.
    std::optional<uint64_t> unacknowledged;
    SteadyTime unacknowledged_since;
    // Could not be sent at once; tried again until the deadline.
    std::optional<Transfer> unsent;
    SteadyTime unsent_deadline;

    // Of a session: its worker may still come back by another connection.
    bool IsAway() const { return open && (!socket.valid() || resuming); }
  };
  // By when a connection must have said hello, a worker have come back, and so on.
  struct Deadline {
    SteadyTime time;
    uint64_t connection = 0;
  };

  // Each may end the connection; false: it has.
  bool Handle(Connection& connection, const Frame& frame);
  bool HandleHello(Connection& connection, const Frame& frame);
  // The connection becomes that of the session, which has another.
  void Resume(Connection& connection, const v1::SessionResume& resume);
  // Why a worker cannot resume that has nobody to come back as.
  Refusal WhyUnknown(const Caller& caller, const v1::SessionResume& resume) const;
  // Also one that is resuming.
  Connection* FindAway(const Caller& caller, const v1::SessionResume& resume);
  bool FinishResume(Connection& connection);
  // Nobody is to wait for a worker whose library this daemon does not serve.
  void EndIfItCannotResume(const Caller& caller, const Frame& hello, std::string_view reason);
  absl::Status SendWelcome(Connection& connection);
  // Says why to the worker, best effort, and closes.
  void Refuse(UniqueFd socket, const Refusal& refusal, const std::string& payload);
  void RefuseAndDrop(Connection& connection, RefusalCause cause, std::string_view reason,
                     const std::string& payload);
  void RefuseAndDrop(Connection& connection, const Refusal& refusal, const std::string& payload);
  bool HandleAck(Connection& connection, const Frame& frame);
  bool HandleAlive(Connection& connection);
  bool SendNext(Connection& connection);

  absl::Status CheckLimits(uid_t uid) const;
  // Whether a connection over the limits may be that of a session that is away: as many may as
  // there are without a connection.
  bool MayBeOneThatIsAway(uid_t uid) const;
  // For people, what counts against the limits: of a user, or of all.
  std::string DescribeHeld(std::optional<uid_t> uid) const;
  // A failure that costs the user a session; where something is used up, with what it holds and
  // what all do.
  std::string Describe(const absl::Status& failure, uid_t uid) const;
  absl::Status Watch(const Connection& connection, int socket);
  void End(uint64_t connection, SessionEnd end, std::string_view cause);
  // The socket is of no use any more; so the session ends, unless its worker may come back.
  void Lose(Connection& connection, SessionEnd end, std::string_view cause);
  void GoAway(Connection& connection);
  // One without an open session.
  void Drop(uint64_t connection) { End(connection, SessionEnd::kClosed, ""); }
  Connection* Find(uint64_t connection);
  void Count(Connection& connection);
  void Uncount(Connection& connection);

  const Options options_;
  Poller* const poller_;
  SessionTable* const table_;
  ForeignSockets* const foreign_;
  uint64_t last_connection_ = 0;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Connection>> connections_;
  int counted_ = 0;
  absl::flat_hash_map<uid_t, int> count_by_uid_;
  const SessionRecords records_;
  std::vector<LostSession> lost_;
  EndedSessions ended_;                    // and those of lost_
  std::deque<Deadline> hello_deadlines_;   // in order; one for each connection at most
  std::deque<Deadline> resume_deadlines_;  // likewise
  std::deque<Deadline> dying_deadlines_;   // likewise
  std::deque<Deadline> ack_deadlines_;     // in order; one for each transfer sent
  std::vector<uint64_t> with_unsent_;      // connections; at most once each
  absl::Mutex deaths_mu_;
  std::vector<uint64_t> deaths_ ABSL_GUARDED_BY(deaths_mu_);  // connections
  DeathWatcher death_watcher_;                                // last: its threads use the two above
};

}  // namespace nodecomm
