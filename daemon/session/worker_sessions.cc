#include "daemon/session/worker_sessions.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/base/status_macros.h"
#include "daemon/process/open_fds.h"
#include "daemon/session/handshake.h"
#include "daemon/session/peer.h"
#include "daemon/session/user_namespace.h"

namespace nodecomm {
namespace {

// Frames read from one worker before the others have their turn.
constexpr int kFramesAtOnceMax = 8;

// A transfer that the kernel does not take is tried again this often, for this long. Not on
// EPOLLOUT: with one transfer in flight a session the socket itself is never full; what runs out is
// the number of descriptors in flight of the daemon's user, of which epoll says nothing.
constexpr absl::Duration kSendRetryInterval = absl::Milliseconds(10);
constexpr absl::Duration kSendTimeout = absl::Seconds(5);

// A worker takes its descriptors on a thread that does nothing else. While it does not, they count
// against the daemon's user.
constexpr absl::Duration kAckTimeout = absl::Seconds(30);

// Tells the worker why it is not taken, best effort.
void SendRefusal(int socket, const std::string& payload) {
  SendFrame(socket, {.type = FrameType::kRefusal, .transfer_id = 0, .payload = payload, .fds = {}})
      .IgnoreError();
  // A hello that nobody read would make the kernel reset the connection at close, and the worker
  // would find ECONNRESET in place of the reason. So: let nothing more in, then read what is there
  // (bounded by the socket's queue).
  shutdown(socket, SHUT_RD);
  for (int i = 0; i < kFramesAtOnceMax; ++i) {
    const auto frame = ReceiveFrameWithoutFds(socket);
    if (frame.ok() ? !frame->has_value() : absl::IsUnavailable(frame.status())) break;
  }
}

RefusalCause CauseOf(const absl::Status& failure) {
  return SaysNoFdIsLeft(failure) ? RefusalCause::kLimit : RefusalCause::kFailure;
}

// A worker that gave up waiting for its answer has closed its end, and must not get the session.
bool HasHungUp(int socket) {
  char byte;
  return recv(socket, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) == 0;
}

}  // namespace

WorkerSessions::WorkerSessions(Options options, Poller* poller, SessionTable* table,
                               ForeignSockets* foreign)
    : options_(std::move(options)),
      poller_(poller),
      table_(table),
      foreign_(foreign),
      records_(options_.records_dir),
      death_watcher_([this](uint64_t connection) {
        {
          absl::MutexLock lock(&deaths_mu_);
          deaths_.push_back(connection);
        }
        poller_->Wake();
      }) {}

WorkerSessions::~WorkerSessions() = default;

std::string WorkerSessions::DescribeHeld(std::optional<uid_t> uid) const {
  int sessions = 0;
  int silent = 0;
  for (const auto& [id, connection] : connections_) {
    if (!connection->counted || (uid.has_value() && connection->caller.uid != *uid)) continue;
    ++(connection->open ? sessions : silent);
  }
  const int closing = uid.has_value() ? foreign_->CountOf(*uid) : foreign_->count();
  std::vector<std::string> held;
  if (sessions > 0) held.push_back(absl::StrFormat("%d sessions", sessions));
  if (silent > 0) {
    held.push_back(absl::StrFormat("%d connections that have said nothing yet", silent));
  }
  if (closing > 0) held.push_back(absl::StrFormat("%d connections that are being closed", closing));
  return held.empty() ? "no sessions" : absl::StrJoin(held, " and ");
}

std::string WorkerSessions::Describe(const absl::Status& failure, uid_t uid) const {
  if (SaysNoFdIsLeft(failure)) {
    return absl::StrFormat("%s; %s", WithFdAdvice(failure).message(), options_.describe_fds(uid));
  }
  if (!absl::IsResourceExhausted(failure)) return std::string(failure.message());
  return absl::StrFormat("%s; uid %d has %s, and the daemon serves %s in all, of at most %d",
                         failure.message(), uid, DescribeHeld(uid), DescribeHeld(std::nullopt),
                         options_.sessions_max);
}

int WorkerSessions::CountOf(uid_t uid) const {
  const auto count = count_by_uid_.find(uid);
  return count == count_by_uid_.end() ? 0 : count->second;
}

absl::Status WorkerSessions::CheckLimits(uid_t uid) const {
  if (counted_ + foreign_->count() >= options_.sessions_max) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "the daemon serves %s already, of at most %d, and uid %d has %s: end some processes or "
        "raise limits.sessions_max in its configuration",
        DescribeHeld(std::nullopt), options_.sessions_max, uid, DescribeHeld(uid)));
  }
  if (CountOf(uid) + foreign_->CountOf(uid) >= options_.sessions_per_uid_max) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "uid %d has %s already, of at most %d, and the daemon serves %s in all, of at most %d: end "
        "some processes or raise limits.sessions_per_uid_max in the daemon's configuration",
        uid, DescribeHeld(uid), options_.sessions_per_uid_max, DescribeHeld(std::nullopt),
        options_.sessions_max));
  }
  return options_.check_room(uid);
}

absl::Status WorkerSessions::Watch(const Connection& connection, int socket) {
  ABSL_RETURN_IF_ERROR(poller_->Add(socket, EPOLLIN | EPOLLRDHUP,
                                    {.kind = options_.socket_kind, .id = connection.id}));
  return poller_->Add(connection.pidfd.get(), EPOLLIN,
                      {.kind = options_.pidfd_kind, .id = connection.id});
}

void WorkerSessions::Accept(UniqueFd socket) {
  const absl::StatusOr<PeerCredentials> peer = ReadPeerCredentials(socket.get());
  if (!peer.ok()) return;  // it is gone already
  const auto refuse = [&](RefusalCause cause, std::string reason) {
    const std::string payload = RefusalPayload(reason);
    Refuse(std::move(socket),
           {.door = Door::kSession,
            .cause = cause,
            .uid = peer->uid,
            .pid = peer->pid,
            .reason = std::move(reason)},
           payload);
  };
  const auto fail = [&](RefusalCause cause, const absl::Status& failure) {
    Refuse(std::move(socket),
           {.door = Door::kSession,
            .cause = cause,
            .uid = peer->uid,
            .pid = peer->pid,
            .reason = std::string(failure.message())},
           FailurePayload(failure));
  };
  if (MayBeSeveralUsers(peer->uid)) {
    return refuse(RefusalCause::kUnknownUser,
                  "the daemon runs in a user namespace in which this process's user has no number, "
                  "so that it could not be told from others: run the daemon outside of it, or map "
                  "the user");
  }
  if (!options_.rate->Take(peer->uid, SteadyNow())) {
    return refuse(RefusalCause::kRate,
                  absl::StrFormat("user %d connects too often; slow down, or raise "
                                  "limits.connections_per_uid_per_second",
                                  peer->uid));
  }
  const absl::Status within = CheckLimits(peer->uid);
  if (!within.ok() && !MayBeOneThatIsAway(peer->uid)) {
    return refuse(RefusalCause::kLimit, std::string(within.message()));
  }
  absl::StatusOr<UniqueFd> pidfd = OpenPeerPidfd(socket.get(), peer->pid);
  if (!pidfd.ok()) {
    return fail(CauseOf(pidfd.status()),
                absl::Status(pidfd.status().code(),
                             absl::StrFormat("the daemon cannot watch the process: %s",
                                             Describe(pidfd.status(), peer->uid))));
  }
  auto connection = std::make_unique<Connection>();
  connection->id = ++last_connection_;
  connection->pidfd = *std::move(pidfd);
  connection->caller = {.session = {}, .uid = peer->uid, .pid = peer->pid};
  if (const absl::Status watched = Watch(*connection, socket.get()); !watched.ok()) {
    poller_->Remove(socket.get());
    return fail(RefusalCause::kFailure, absl::Status(watched.code(), Describe(watched, peer->uid)));
  }
  connection->socket = std::move(socket);
  hello_deadlines_.push_back(
      {.time = SteadyNow() + options_.hello_timeout, .connection = connection->id});
  if (within.ok()) Count(*connection);
  connections_.emplace(connection->id, std::move(connection));
}

bool WorkerSessions::MayBeOneThatIsAway(uid_t uid) const {
  int away = 0;
  int not_counted = 0;
  for (const auto& [id, connection] : connections_) {
    if (connection->caller.uid != uid) continue;
    // One that is resuming has its connection, and uses all that its place is worth.
    if (connection->open && !connection->socket.valid()) ++away;
    if (!connection->counted) ++not_counted;
  }
  return not_counted < away;
}

void WorkerSessions::Count(Connection& connection) {
  connection.counted = true;
  ++counted_;
  ++count_by_uid_[connection.caller.uid];
}

void WorkerSessions::Uncount(Connection& connection) {
  if (!std::exchange(connection.counted, false)) return;
  const auto count = count_by_uid_.find(connection.caller.uid);
  if (--count->second == 0) count_by_uid_.erase(count);
  --counted_;
}

WorkerSessions::Connection* WorkerSessions::Find(uint64_t connection) {
  const auto it = connections_.find(connection);
  return it == connections_.end() ? nullptr : it->second.get();
}

void WorkerSessions::OnSocket(uint64_t id) {
  Connection* connection = Find(id);
  // It may have gone away by an event before this one.
  if (connection == nullptr || !connection->socket.valid()) return;
  for (int i = 0; i < kFramesAtOnceMax; ++i) {
    const absl::StatusOr<std::optional<Frame>> frame =
        ReceiveFrameWithoutFds(connection->socket.get());
    if (absl::IsUnavailable(frame.status())) {
      return Lose(
          *connection, SessionEnd::kClosed,
          absl::StrFormat("process %d has ended or closed its session", connection->caller.pid));
    }
    if (!frame.ok()) {
      return End(id, SessionEnd::kProtocol,
                 absl::StrFormat("process %d broke the session protocol: %s",
                                 connection->caller.pid, frame.status().message()));
    }
    if (!frame->has_value() || !Handle(*connection, **frame)) return;
  }
}

void WorkerSessions::OnPidfd(uint64_t id) {
  if (const Connection* connection = Find(id); connection != nullptr) {
    End(id, SessionEnd::kProcessEnded,
        absl::StrFormat("process %d has ended", connection->caller.pid));
  }
}

bool WorkerSessions::Handle(Connection& connection, const Frame& frame) {
  if (frame.type == FrameType::kHello && !connection.open) return HandleHello(connection, frame);
  if (frame.type == FrameType::kTransferAck && connection.open) {
    return HandleAck(connection, frame);
  }
  if (frame.type == FrameType::kAlive && connection.open) return HandleAlive(connection);
  End(connection.id, SessionEnd::kProtocol,
      absl::StrFormat("process %d broke the session protocol: frame type %d was not expected",
                      connection.caller.pid, static_cast<int>(frame.type)));
  return false;
}

void WorkerSessions::Refuse(UniqueFd socket, const Refusal& refusal, const std::string& payload) {
  SendRefusal(socket.get(), payload);
  foreign_->Close(std::move(socket), refusal.uid);
  if (options_.refused) options_.refused(refusal);
}

void WorkerSessions::RefuseAndDrop(Connection& connection, RefusalCause cause,
                                   std::string_view reason, const std::string& payload) {
  RefuseAndDrop(connection,
                {.door = Door::kSession,
                 .cause = cause,
                 .uid = connection.caller.uid,
                 .pid = connection.caller.pid,
                 .reason = std::string(reason)},
                payload);
}

void WorkerSessions::RefuseAndDrop(Connection& connection, const Refusal& refusal,
                                   const std::string& payload) {
  SendRefusal(connection.socket.get(), payload);
  if (options_.refused) options_.refused(refusal);
  Drop(connection.id);
}

bool WorkerSessions::HandleHello(Connection& connection, const Frame& frame) {
  const absl::StatusOr<v1::SessionHello> hello = CheckHello(frame.payload);
  if (!hello.ok()) {
    const std::string reason(hello.status().message());
    EndIfItCannotResume(connection.caller, frame, reason);
    RefuseAndDrop(connection, RefusalCause::kVersion, reason, RefusalPayload(reason));
    return false;
  }
  if (hello->has_resume()) {
    Resume(connection, hello->resume());
    return false;  // this connection is none any more
  }
  if (!connection.counted) {
    const absl::Status within = CheckLimits(connection.caller.uid);
    if (!within.ok()) {
      const std::string reason(within.message());
      RefuseAndDrop(connection, RefusalCause::kLimit, reason, RefusalPayload(reason));
      return false;
    }
    Count(connection);
  }
  const absl::StatusOr<SessionIdentity> identity = NewSessionIdentity();
  absl::Status status = identity.status();
  if (status.ok()) {
    connection.caller.session = identity->id;
    connection.token = identity->token;
    status = records_.Add(connection.caller, connection.token);
  }
  if (!status.ok()) {
    Uncount(connection);  // what is told of is the others'
    const absl::Status failure(
        status.code(),
        absl::StrFormat("the daemon cannot open a session: %s; nodecommctl doctor on the host says "
                        "more",
                        Describe(status, connection.caller.uid)));
    RefuseAndDrop(connection, CauseOf(status), std::string(failure.message()),
                  FailurePayload(failure));
    return false;
  }
  connection.open = true;
  // In the table before the worker knows its token, which it may use at once.
  table_->Add(connection.id, connection.caller, connection.token);
  if (options_.opened) options_.opened(connection.caller);
  const absl::Status welcomed = SendWelcome(connection);
  if (welcomed.ok()) return true;
  End(connection.id, SessionEnd::kNotSent,
      absl::StrFormat("process %d could not be welcomed: %s", connection.caller.pid,
                      welcomed.message()));
  return false;
}

absl::Status WorkerSessions::SendWelcome(Connection& connection) {
  std::vector<int> fds;
  // Without a page, the worker's death is learned from its pidfd, later.
  if (auto page = LivenessPage::Create(); page.ok()) {
    connection.liveness = *std::move(page);
    fds.push_back(connection.liveness->fd());
  }
  const std::string payload =
      WelcomePayload({.id = connection.caller.session, .token = connection.token},
                     options_.platform, table_->transfers_begin(), options_.rendezvous_timeout());
  FrameView welcome = {
      .type = FrameType::kWelcome, .transfer_id = 0, .payload = payload, .fds = fds};
  absl::Status sent = SendFrame(connection.socket.get(), welcome);
  if (absl::IsResourceExhausted(sent) && !fds.empty()) {
    // Too many descriptors are in flight. A page is not worth a session, which may have groups.
    connection.liveness.reset();
    welcome.fds = {};
    sent = SendFrame(connection.socket.get(), welcome);
  }
  return sent;
}

// --- after a restart

absl::Status WorkerSessions::TakeOver() {
  ABSL_ASSIGN_OR_RETURN(FoundSessions found, records_.TakeOver());
  lost_ = std::move(found.lost);
  for (KnownSession& known : found.known) {
    auto connection = std::make_unique<Connection>();
    connection->id = ++last_connection_;
    connection->pidfd = std::move(known.pidfd);
    connection->caller = known.caller;
    connection->token = known.token;
    connection->open = true;
    if (const absl::Status watched = poller_->Add(
            connection->pidfd.get(), EPOLLIN, {.kind = options_.pidfd_kind, .id = connection->id});
        !watched.ok()) {
      // A later daemon may have more luck.
      lost_.push_back({.caller = known.caller,
                       .cause = absl::StrFormat("process %d cannot be watched: %s",
                                                known.caller.pid, watched.message())});
      continue;
    }
    table_->Add(connection->id, connection->caller, connection->token);
    Count(*connection);
    connections_.emplace(connection->id, std::move(connection));
  }
  for (const LostSession& lost : lost_) ended_.Add(lost.caller.session);
  return absl::OkStatus();
}

void WorkerSessions::StartResumeDeadlines() {
  const SteadyTime deadline = SteadyNow() + options_.resume_timeout;
  for (const auto& [id, connection] : connections_) {
    if (!connection->socket.valid()) {
      connection->resume_deadline = deadline;
      resume_deadlines_.push_back({.time = deadline, .connection = id});
    }
  }
}

WorkerSessions::Connection* WorkerSessions::FindAway(const Caller& caller,
                                                     const v1::SessionResume& resume) {
  const std::optional<Caller> known = table_->FindByToken(resume.token());
  // A token alone is not enough: the process must be the one that it was given to.
  if (!known.has_value() || known->session.value != resume.session_id() ||
      known->pid != caller.pid || known->uid != caller.uid) {
    return nullptr;
  }
  const std::optional<uint64_t> id = table_->ConnectionOf(known->session);
  Connection* connection = id.has_value() ? Find(*id) : nullptr;
  return connection != nullptr && connection->IsAway() ? connection : nullptr;
}

void WorkerSessions::Resume(Connection& connection, const v1::SessionResume& resume) {
  if (HasHungUp(connection.socket.get())) return Drop(connection.id);
  Connection* away = FindAway(connection.caller, resume);
  if (away == nullptr) {
    return RefuseAndDrop(connection, WhyUnknown(connection.caller, resume),
                         UnknownSessionPayload());
  }
  // It has given up its last attempt, whose end may not have been noticed here.
  if (away->resuming) GoAway(*away);
  poller_->Remove(connection.socket.get());
  away->socket = std::move(connection.socket);
  Drop(connection.id);
  away->resuming = true;
  absl::Status status = poller_->Add(away->socket.get(), EPOLLIN | EPOLLRDHUP,
                                     {.kind = options_.socket_kind, .id = away->id});
  if (status.ok()) status = SendWelcome(*away);
  if (!status.ok()) {
    return Lose(*away, SessionEnd::kNotSent,
                absl::StrFormat("process %d came back, but could not be welcomed: %s",
                                away->caller.pid, status.message()));
  }
  // One that was given no page has nothing to say.
  if (away->liveness == nullptr) FinishResume(*away);
}

Refusal WorkerSessions::WhyUnknown(const Caller& caller, const v1::SessionResume& resume) const {
  Refusal refusal = {.door = Door::kSession,
                     .cause = RefusalCause::kUnknownSession,
                     .uid = caller.uid,
                     .pid = caller.pid,
                     .reason = "it has no such session here"};
  const SessionId session{resume.session_id()};
  if (options_.predecessor == Predecessor::kKilled && !ended_.Contains(session) &&
      !table_->ConnectionOf(session).has_value()) {
    refusal.cause = RefusalCause::kNoRecord;
    refusal.reason = absl::StrFormat(
        "it had a session with the daemon that was killed, of which somebody removed the record "
        "from %s. Groups of process %d whose files are gone as well go on, but nobody watches "
        "them: restart their workers",
        options_.records_dir, caller.pid);
  }
  return refusal;
}

void WorkerSessions::EndIfItCannotResume(const Caller& caller, const Frame& hello,
                                         std::string_view reason) {
  v1::SessionHello refused;
  if (!refused.ParseFromString(hello.payload) || !refused.has_resume()) return;
  if (const Connection* away = FindAway(caller, refused.resume()); away != nullptr) {
    End(away->id, SessionEnd::kNotResumed,
        absl::StrFormat("process %d cannot come back to the restarted daemon: %s", caller.pid,
                        reason));
  }
}

bool WorkerSessions::FinishResume(Connection& connection) {
  connection.resuming = false;
  if (options_.opened) options_.opened(connection.caller);
  // What was queued for it while it was away.
  return SendNext(connection);
}

void WorkerSessions::Lose(Connection& connection, SessionEnd end, std::string_view cause) {
  if (connection.resuming && SteadyNow() < connection.resume_deadline) return GoAway(connection);
  End(connection.id, end, cause);
}

void WorkerSessions::GoAway(Connection& connection) {
  connection.resuming = false;
  connection.liveness.reset();
  poller_->Remove(connection.socket.get());
  foreign_->Close(std::move(connection.socket), connection.caller.uid);
}

bool WorkerSessions::HandleAck(Connection& connection, const Frame& frame) {
  if (connection.unacknowledged != frame.transfer_id) {
    End(connection.id, SessionEnd::kProtocol,
        absl::StrFormat("process %d broke the session protocol: it acknowledged transfer %d, "
                        "which was not in flight",
                        connection.caller.pid, frame.transfer_id));
    return false;
  }
  connection.unacknowledged.reset();
  return SendNext(connection);
}

bool WorkerSessions::HandleAlive(Connection& connection) {
  // Or a worker could keep this thread busy with frames that change nothing, as long as it likes.
  if (std::exchange(connection.said_alive, true)) {
    End(connection.id, SessionEnd::kProtocol,
        absl::StrFormat("process %d broke the session protocol: it said more than once that it is "
                        "alive",
                        connection.caller.pid));
    return false;
  }
  // A worker that was given no page can hold none; nor does one hold its page that never touched
  // it.
  if (connection.liveness != nullptr && connection.liveness->IsTouched()) {
    connection.watched_for_death = true;
    death_watcher_.Watch(connection.id, connection.liveness);
  }
  return !connection.resuming || FinishResume(connection);
}

void WorkerSessions::TellDeaths() {
  std::vector<uint64_t> deaths;
  {
    absl::MutexLock lock(&deaths_mu_);
    deaths.swap(deaths_);
  }
  for (const uint64_t id : deaths) {
    const Connection* connection = Find(id);
    if (connection == nullptr) continue;
    dying_deadlines_.push_back({.time = SteadyNow() + options_.dying_timeout, .connection = id});
    if (!options_.died) continue;
    options_.died(connection->caller,
                  absl::StrFormat("process %d has died", connection->caller.pid));
  }
}

bool WorkerSessions::SendNext(Connection& connection) {
  if (const absl::Status keeps_up = table_->CheckQueue(connection.caller.session); !keeps_up.ok()) {
    End(connection.id, SessionEnd::kNotTaken, std::string(keeps_up.message()));
    return false;
  }
  if (connection.unacknowledged.has_value() || !connection.socket.valid() || connection.resuming) {
    return true;
  }
  if (!connection.unsent.has_value()) {
    connection.unsent = table_->Next(connection.caller.session);
    if (!connection.unsent.has_value()) return true;
    connection.unsent_deadline = SteadyNow() + kSendTimeout;
  }
  std::vector<int> fds;
  for (const UniqueFd& fd : connection.unsent->fds) fds.push_back(fd.get());
  const absl::Status sent =
      SendFrame(connection.socket.get(), {.type = FrameType::kTransfer,
                                          .transfer_id = connection.unsent->id,
                                          .payload = "",
                                          .fds = fds});
  if (sent.ok()) {
    connection.unacknowledged = connection.unsent->id;
    connection.unacknowledged_since = SteadyNow();
    ack_deadlines_.push_back(
        {.time = connection.unacknowledged_since + kAckTimeout, .connection = connection.id});
    connection.unsent.reset();
    return true;
  }
  if (absl::IsResourceExhausted(sent) && SteadyNow() < connection.unsent_deadline) {
    with_unsent_.push_back(connection.id);
    return true;
  }
  End(connection.id, SessionEnd::kNotSent,
      absl::StrFormat("file descriptors could not be sent to process %d: %s", connection.caller.pid,
                      sent.message()));
  return false;
}

void WorkerSessions::SendQueued() {
  for (const uint64_t id : table_->TakeConnectionsWithNews()) {
    Connection* connection = Find(id);
    // One with an unsent transfer has its turn in RunTimers().
    if (connection != nullptr && !connection->unsent.has_value()) SendNext(*connection);
  }
}

SteadyTime WorkerSessions::NextDeadline() const {
  SteadyTime next = SteadyTime::InfiniteFuture();
  if (!hello_deadlines_.empty()) next = hello_deadlines_.front().time;
  if (!resume_deadlines_.empty()) next = std::min(next, resume_deadlines_.front().time);
  if (!dying_deadlines_.empty()) next = std::min(next, dying_deadlines_.front().time);
  if (!ack_deadlines_.empty()) next = std::min(next, ack_deadlines_.front().time);
  if (!with_unsent_.empty()) next = std::min(next, SteadyNow() + kSendRetryInterval);
  return next;
}

void WorkerSessions::RunTimers(SteadyTime now) {
  while (!hello_deadlines_.empty() && hello_deadlines_.front().time <= now) {
    const uint64_t id = hello_deadlines_.front().connection;
    hello_deadlines_.pop_front();
    if (const Connection* late = Find(id); late != nullptr && !late->open) Drop(id);
  }
  while (!resume_deadlines_.empty() && resume_deadlines_.front().time <= now) {
    const uint64_t id = resume_deadlines_.front().connection;
    resume_deadlines_.pop_front();
    const Connection* late = Find(id);
    if (late == nullptr || !late->IsAway()) continue;
    End(id, SessionEnd::kNotResumed,
        absl::StrFormat("process %d %s the restarted daemon within %s", late->caller.pid,
                        late->resuming ? "came back, but did not say that it is alive to"
                                       : "did not come back to",
                        absl::FormatDuration(options_.resume_timeout)));
  }
  while (!dying_deadlines_.empty() && dying_deadlines_.front().time <= now) {
    const uint64_t id = dying_deadlines_.front().connection;
    dying_deadlines_.pop_front();
    const Connection* late = Find(id);
    if (late == nullptr) continue;
    if (!LivesOn(late->caller.pid)) {
      // It may be held up by a driver, and holds its memory until then.
      dying_deadlines_.push_back({.time = now + options_.dying_timeout, .connection = id});
      continue;
    }
    End(id, SessionEnd::kExecuted,
        absl::StrFormat("process %d executed another program, and a fork of what it was kept its "
                        "session for %s",
                        late->caller.pid, absl::FormatDuration(options_.dying_timeout)));
  }
  while (!ack_deadlines_.empty() && ack_deadlines_.front().time <= now) {
    const uint64_t id = ack_deadlines_.front().connection;
    ack_deadlines_.pop_front();
    const Connection* late = Find(id);
    const bool is_late = late != nullptr && late->unacknowledged.has_value() &&
                         late->unacknowledged_since + kAckTimeout <= now;
    if (!is_late) continue;
    End(id, SessionEnd::kNotTaken,
        absl::StrFormat("process %d did not take the file descriptors sent to it within %s",
                        late->caller.pid, absl::FormatDuration(kAckTimeout)));
  }
  for (const uint64_t id : std::exchange(with_unsent_, {})) {
    if (Connection* connection = Find(id); connection != nullptr) SendNext(*connection);
  }
}

void WorkerSessions::End(uint64_t id, SessionEnd end, std::string_view cause) {
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  const std::unique_ptr<Connection> connection = std::move(it->second);
  connections_.erase(it);
  Uncount(*connection);
  poller_->Remove(connection->socket.get());
  poller_->Remove(connection->pidfd.get());
  foreign_->Close(std::move(connection->socket), connection->caller.uid);
  if (connection->watched_for_death) death_watcher_.Forget(id);
  if (!connection->open) return;
  ended_.Add(connection->caller.session);
  table_->Remove(connection->caller.session);
  records_.Remove(connection->caller.session);
  if (options_.ended) options_.ended(connection->caller, end, cause);
}

void WorkerSessions::EndAll(SessionEnd end, std::string_view cause) {
  while (!connections_.empty()) End(connections_.begin()->first, end, cause);
}

}  // namespace nodecomm
