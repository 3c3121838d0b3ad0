#include "daemon/session/session_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <functional>
#include <map>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"
#include "client/base/steady_wait.h"
#include "daemon/session/adopted_connections.h"
#include "daemon/session/foreign_sockets.h"
#include "daemon/session/peer.h"
#include "daemon/session/poller.h"
#include "daemon/session/rate_limit.h"
#include "daemon/session/session_table.h"
#include "daemon/session/user_namespace.h"
#include "daemon/session/worker_sessions.h"
#include "proto/refusal_line.h"

namespace nodecomm {
namespace {

// What the poller's watches are.
enum Kind : uint8_t {
  kSessionListener,
  kControlListener,
  kAdminListener,
  kSessionSocket,
  kSessionPidfd,
  kControlConnection,
  kAdminConnection,
};

// Connections accepted from one listener before everything else has its turn.
constexpr int kAcceptsAtOnceMax = 16;

// How long nobody is accepted after the daemon ran out of file descriptors: the waiting connection
// would wake the thread at once, for ever.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);

constexpr int kAdminConnectionsPerUidMax = 64;

// Socket, pidfd and liveness page; gRPC's and ours. What operators are told to allow follows from
// them (client/base/open_files.h).
constexpr size_t kDescriptorsOfASession = 3;
constexpr size_t kDescriptorsOfACall = 2;

// Connections that a user may make at once after a pause, in seconds' worth.
constexpr int kConnectionsBurst = 10;

// How long one who resets calls as fast as it can is not taken on control.sock: what it has sent by
// then still keeps gRPC busy for a second or two.
constexpr absl::Duration kCutOffTime = absl::Seconds(10);

class EpollSessionServer final : public SessionServer {
 public:
  EpollSessionServer(Options options, Poller poller, std::unique_ptr<ForeignSockets> foreign)
      : options_(std::move(options)),
        poller_(std::move(poller)),
        foreign_(std::move(foreign)),
        table_(options_.descriptors_max == 0 ? SIZE_MAX : options_.descriptors_max / 8),
        control_connections_(&poller_, foreign_.get(), kControlConnection,
                             {.per_uid_max = options_.control_connections_per_uid_max,
                              .name = "limits.control_connections_per_uid_max: end some processes, "
                                      "or raise it"}),
        admin_connections_(&poller_, foreign_.get(), kAdminConnection,
                           {.per_uid_max = kAdminConnectionsPerUidMax, .name = "not a setting"}),
        rate_(options_.connections_per_uid_per_second,
              kConnectionsBurst * options_.connections_per_uid_per_second),
        sessions_(
            {.platform = options_.platform,
             .rendezvous_timeout = options_.rendezvous_timeout,
             .rate = &rate_,
             .sessions_max = options_.sessions_max,
             .sessions_per_uid_max = options_.sessions_per_uid_max,
             .check_room = [this](uid_t uid) { return CheckRoom(kDescriptorsOfASession, uid); },
             .describe_fds = [this](uid_t uid) { return DescribeFds(uid); },
             .hello_timeout = options_.hello_timeout,
             .resume_timeout = options_.resume_timeout,
             .dying_timeout = options_.dying_timeout,
             .records_dir = options_.records_dir,
             .predecessor = options_.predecessor,
             .socket_kind = kSessionSocket,
             .pidfd_kind = kSessionPidfd,
             .opened =
                 [this](const Caller& caller) {
                   if (events_.session_opened) events_.session_opened(caller);
                 },
             .died =
                 [this](const Caller& caller, std::string_view cause) {
                   // Now, since a program that it has executed gets its own later.
                   control_connections_.ProcessEnded({.pid = caller.pid, .uid = caller.uid});
                   if (events_.session_died) events_.session_died(caller.session, cause);
                 },
             .ended =
                 [this](const Caller& caller, SessionEnd end, std::string_view cause) {
                   if (end == SessionEnd::kProcessEnded) {
                     control_connections_.ProcessEnded({.pid = caller.pid, .uid = caller.uid});
                   }
                   if (events_.session_ended) events_.session_ended(caller, end, cause);
                 },
             .refused =
                 [this](const Refusal& refusal) {
                   if (events_.refused) events_.refused(refusal);
                 }},
            &poller_, &table_, foreign_.get()) {}

  ~EpollSessionServer() override { Stop(); }

  absl::Status Prepare() {
    // Reads the map now, while there are descriptors for it.
    MayBeSeveralUsers(0);
    ABSL_RETURN_IF_ERROR(sessions_.TakeOver());
    ABSL_RETURN_IF_ERROR(
        poller_.Add(options_.session_listener.get(), EPOLLIN, {.kind = kSessionListener, .id = 0}));
    ABSL_RETURN_IF_ERROR(
        poller_.Add(options_.control_listener.get(), EPOLLIN, {.kind = kControlListener, .id = 0}));
    return poller_.Add(options_.admin_listener.get(), EPOLLIN, {.kind = kAdminListener, .id = 0});
  }

  void Start(Events events) override {
    events_ = std::move(events);
    sessions_.StartResumeDeadlines();
    thread_ = std::thread([this] { Run(); });
  }

  void Stop() override {
    // A second caller waits until the first has joined the thread.
    absl::call_once(stop_once_, [this] {
      stopping_ = true;
      poller_.Wake();
      if (thread_.joinable()) thread_.join();
    });
  }

  std::optional<Caller> FindByToken(std::string_view token) const override {
    return table_.FindByToken(token);
  }

  std::vector<SessionId> Sessions() const override { return table_.Sessions(); }
  const std::vector<LostSession>& LostSessions() const override { return sessions_.lost(); }

  std::vector<SessionTable::Session> List() const override { return table_.List(); }

  int session_count() const override { return table_.size(); }

  std::map<uid_t, int> ControlConnections() const override {
    return control_connections_.CountByUser();
  }

  void CutOff(uid_t uid) override {
    {
      absl::MutexLock lock(&flooders_mu_);
      if (!flooders_.insert(uid).second) return;
    }
    poller_.Wake();
  }

  bool TakesTurns(absl::Duration timeout) override {
    absl::MutexLock lock(&turns_mu_);
    const uint64_t wanted = turns_ + 1;
    poller_.Wake();
    const auto taken = [&]() ABSL_SHARED_LOCKS_REQUIRED(turns_mu_) { return turns_ >= wanted; };
    return turn_taken_.Await(&turns_mu_, SteadyNow() + timeout, taken);
  }

  uint64_t Send(SessionId session, std::vector<UniqueFd> fds) override {
    const uint64_t id = table_.Queue(session, std::move(fds));
    poller_.Wake();
    return id;
  }

 private:
  void Run() {
    while (!stopping_) {
      const SteadyTime deadline =
          std::min({sessions_.NextDeadline(), control_connections_.NextDeadline(),
                    admin_connections_.NextDeadline(), accept_again_});
      const std::vector<Poller::Event> events = poller_.Wait(deadline);
      // First: a process that is dead may have hung up meanwhile, and then its death says more.
      sessions_.TellDeaths();
      for (const Poller::Event& event : events) Handle(event.watch);
      sessions_.SendQueued();
      const SteadyTime now = SteadyNow();
      CutOffFlooders(now);
      sessions_.RunTimers(now);
      control_connections_.RunTimers(now);
      admin_connections_.RunTimers(now);
      if (now >= accept_again_) ResumeAccepting();
      absl::MutexLock lock(&turns_mu_);
      ++turns_;
      turn_taken_.SignalAll();
    }
    // Connections that nobody has accepted yet are closed with them.
    foreign_->Close(std::move(options_.session_listener), geteuid());
    foreign_->Close(std::move(options_.control_listener), geteuid());
    foreign_->Close(std::move(options_.admin_listener), geteuid());
    sessions_.EndAll(SessionEnd::kDaemonStopping, "the daemon is stopping");
  }

  void Handle(Poller::Watch watch) {
    switch (watch.kind) {
      case kSessionListener:
        return AcceptFrom(options_.session_listener,
                          [this](UniqueFd socket) { sessions_.Accept(std::move(socket)); });
      case kControlListener:
        return AcceptFrom(options_.control_listener,
                          [this](UniqueFd socket) { AdoptControl(std::move(socket)); });
      case kAdminListener:
        return AcceptFrom(options_.admin_listener,
                          [this](UniqueFd socket) { AdoptAdmin(std::move(socket)); });
      case kSessionSocket:
        return sessions_.OnSocket(watch.id);
      case kSessionPidfd:
        return sessions_.OnPidfd(watch.id);
      case kControlConnection:
        return control_connections_.OnHangUp(watch.id);
      case kAdminConnection:
        return admin_connections_.OnHangUp(watch.id);
    }
  }

  void CutOffFlooders(SteadyTime now) {
    std::set<uid_t> flooders;
    {
      absl::MutexLock lock(&flooders_mu_);
      flooders.swap(flooders_);
    }
    if (flooders.empty()) return;
    std::erase_if(cut_off_until_, [now](const auto& entry) { return entry.second <= now; });
    for (const uid_t uid : flooders) {
      control_connections_.CutOff(uid);
      cut_off_until_[uid] = now + kCutOffTime;
    }
  }

  bool IsCutOff(uid_t uid) const {
    const auto until = cut_off_until_.find(uid);
    return until != cut_off_until_.end() && until->second > SteadyNow();
  }

  void AcceptFrom(const UniqueFd& listener, const std::function<void(UniqueFd)>& take) {
    for (int i = 0; i < kAcceptsAtOnceMax; ++i) {
      UniqueFd socket(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (socket.valid()) {
        take(std::move(socket));
        continue;
      }
      const bool exhausted =
          errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
      if (exhausted) PauseAccepting();
      // EINTR and ECONNABORTED: the poller says again if somebody still waits.
      return;
    }
  }

  void PauseAccepting() {
    accept_again_ = SteadyNow() + kAcceptPause;
    ListenFor(0);
  }

  void ResumeAccepting() {
    accept_again_ = SteadyTime::InfiniteFuture();
    ListenFor(EPOLLIN);
  }

  void ListenFor(uint32_t epoll_events) {
    // Cannot fail: the three were added at the start.
    poller_
        .Change(options_.session_listener.get(), epoll_events, {.kind = kSessionListener, .id = 0})
        .IgnoreError();
    poller_
        .Change(options_.control_listener.get(), epoll_events, {.kind = kControlListener, .id = 0})
        .IgnoreError();
    poller_.Change(options_.admin_listener.get(), epoll_events, {.kind = kAdminListener, .id = 0})
        .IgnoreError();
  }

  // What connections of workers hold: all, and one user's.
  size_t CountFds() const {
    return kDescriptorsOfASession * static_cast<size_t>(sessions_.counted()) +
           kDescriptorsOfACall * control_connections_.count() +
           static_cast<size_t>(foreign_->count());
  }
  size_t CountFdsOf(uid_t uid) const {
    return kDescriptorsOfASession * static_cast<size_t>(sessions_.CountOf(uid)) +
           kDescriptorsOfACall * static_cast<size_t>(control_connections_.CountOf(uid)) +
           static_cast<size_t>(foreign_->CountOf(uid));
  }
  std::string DescribeFds(uid_t uid) const {
    return absl::StrFormat("connections of uid %d hold %d of them, those of all workers %d", uid,
                           CountFdsOf(uid), CountFds());
  }

  // Whether all users together leave as many for another of this user's connections.
  absl::Status CheckRoom(size_t descriptors, uid_t uid) const {
    if (options_.descriptors_max == 0) return absl::OkStatus();
    const size_t taken = CountFds();
    const size_t taken_max = options_.descriptors_max / 4 * 3;
    if (taken + descriptors <= taken_max) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrFormat(
        "the daemon has no file descriptors to spare: connections of workers hold %d of at most "
        "%d, three quarters of its limit of open files, and those of uid %d %d; end some "
        "processes, or raise LimitNOFILE (%d now)",
        taken, taken_max, uid, CountFdsOf(uid), options_.descriptors_max));
  }

  // A connection over a limit is closed; the worker's gRPC reports that it could not connect.
  void AdoptControl(UniqueFd socket) {
    const absl::StatusOr<PeerCredentials> peer = ReadPeerCredentials(socket.get());
    if (!peer.ok()) return;  // it is gone already
    const auto refuse = [&](RefusalCause cause, std::string_view reason) {
      foreign_->Close(std::move(socket), peer->uid);
      Refuse(Door::kControl, cause, *peer, reason);
    };
    if (!rate_.Take(peer->uid, SteadyNow())) {
      return refuse(RefusalCause::kRate, absl::StrFormat("connects more than %d times a second "
                                                         "(limits.connections_per_uid_per_second)",
                                                         options_.connections_per_uid_per_second));
    }
    if (IsCutOff(peer->uid)) {
      return refuse(RefusalCause::kRate,
                    absl::StrFormat("resets calls as fast as it can: its connections were closed, "
                                    "and none is taken for %s",
                                    absl::FormatDuration(kCutOffTime)));
    }
    if (const absl::Status room = CheckRoom(kDescriptorsOfACall, peer->uid); !room.ok()) {
      return refuse(RefusalCause::kLimit, std::string(room.message()));
    }
    if (const absl::Status added = control_connections_.Add(socket, *peer); !added.ok()) {
      return refuse(RefusalCause::kLimit, std::string(added.message()));
    }
    if (events_.control_connected) events_.control_connected(std::move(socket), *peer);
  }

  // The modes of the directory and the socket keep others out already; this holds where somebody
  // has loosened them.
  void AdoptAdmin(UniqueFd socket) {
    const absl::StatusOr<PeerCredentials> peer = ReadPeerCredentials(socket.get());
    if (!peer.ok()) return;
    const auto refuse = [&](RefusalCause cause, const std::string& reason) {
      // For nodecommctl, which learns nothing from a connection that just ends.
      const std::string line = absl::StrCat(kRefusalStart, reason, "\n");
      send(socket.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      Refuse(Door::kAdmin, cause, *peer, reason);
      foreign_->Close(std::move(socket), peer->uid);
    };
    if (peer->uid != 0 && peer->uid != geteuid()) {
      return refuse(RefusalCause::kNotAdministrator,
                    absl::StrFormat("%s, and this is uid %d", kRefusesUser, peer->uid));
    }
    if (const absl::Status added = admin_connections_.Add(socket, *peer); !added.ok()) {
      return refuse(RefusalCause::kLimit, std::string(added.message()));
    }
    if (events_.admin_connected) events_.admin_connected(std::move(socket));
  }

  void Refuse(Door door, RefusalCause cause, const PeerCredentials& peer, std::string_view reason) {
    if (!events_.refused) return;
    events_.refused({.door = door,
                     .cause = cause,
                     .uid = peer.uid,
                     .pid = peer.pid,
                     .reason = std::string(reason)});
  }

  // Everything but the table, the poller's Wake(), `stopping_` and what AdoptedConnections says to
  // be thread-safe belongs to the thread once it runs.
  Options options_;
  Events events_;
  Poller poller_;
  const std::unique_ptr<ForeignSockets> foreign_;
  SessionTable table_;
  AdoptedConnections control_connections_;
  AdoptedConnections admin_connections_;
  RateLimit rate_;  // of both sockets' connections
  WorkerSessions sessions_;
  SteadyTime accept_again_ = SteadyTime::InfiniteFuture();
  // Users whose control connections are not taken meanwhile: at most those who flooded of late.
  std::map<uid_t, SteadyTime> cut_off_until_;
  absl::Mutex flooders_mu_;
  std::set<uid_t> flooders_ ABSL_GUARDED_BY(flooders_mu_);  // to be cut off
  std::atomic<bool> stopping_ = false;
  absl::once_flag stop_once_;
  absl::Mutex turns_mu_;
  SteadyCondVar turn_taken_;
  uint64_t turns_ ABSL_GUARDED_BY(turns_mu_) = 0;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SessionServer>> SessionServer::Create(Options options) {
  ABSL_ASSIGN_OR_RETURN(Poller poller, Poller::Create());
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<ForeignSockets> foreign, ForeignSockets::Create());
  auto server = std::make_unique<EpollSessionServer>(std::move(options), std::move(poller),
                                                     std::move(foreign));
  ABSL_RETURN_IF_ERROR(server->Prepare());
  return server;
}

}  // namespace nodecomm
