#include "client/session/worker_session.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/session/liveness_lock.h"

namespace nodecomm {
namespace {

// Between attempts to find the daemon again; doubled each time.
constexpr absl::Duration kResumeIntervalMin = absl::Milliseconds(10);
constexpr absl::Duration kResumeIntervalMax = absl::Seconds(1);
// A daemon that starts takes connections before it answers; an earlier version proves its GPUs
// first.
constexpr absl::Duration kResumeTimeout = absl::Seconds(60);

// After RetryLater. Limits of the daemon are by the second.
constexpr absl::Duration kRetryInterval = absl::Seconds(1);

// The daemon waits longer for an acknowledgement.
constexpr absl::Duration kSendRetryInterval = absl::Milliseconds(10);
constexpr absl::Duration kSendTimeout = absl::Seconds(5);

absl::Status UnusedStatus() { return absl::CancelledError("nobody uses the session any more"); }

std::string PeerName(const std::string& runtime_dir) {
  return absl::StrFormat("nodecommd at %s", SessionSocketPath(runtime_dir));
}

}  // namespace

absl::StatusOr<WorkerSession::Owner> WorkerSession::Connect(const std::string& runtime_dir,
                                                            absl::Duration timeout) {
  ABSL_ASSIGN_OR_RETURN(UniqueFd socket, ConnectSession(runtime_dir, timeout));
  ABSL_ASSIGN_OR_RETURN(OpenedSession opened,
                        ShakeHands(std::move(socket), PeerName(runtime_dir), timeout));
  return Start(runtime_dir, std::move(opened));
}

absl::StatusOr<WorkerSession::Owner> WorkerSession::Handshake(UniqueFd socket,
                                                              const std::string& peer,
                                                              absl::Duration timeout) {
  ABSL_ASSIGN_OR_RETURN(OpenedSession opened, ShakeHands(std::move(socket), peer, timeout));
  return Start("", std::move(opened));
}

absl::StatusOr<WorkerSession::Owner> WorkerSession::Start(const std::string& runtime_dir,
                                                          OpenedSession opened) {
  Owner session(new WorkerSession(runtime_dir, std::move(opened)));
  if (!session->stop_event_.valid() || !session->wake_event_.valid()) {
    return absl::ErrnoToStatus(errno, "eventfd for the session's reader");
  }
  ABSL_RETURN_IF_ERROR(session->StartReader());
  return session;
}

WorkerSession::WorkerSession(std::string runtime_dir, OpenedSession opened)
    : runtime_dir_(std::move(runtime_dir)),
      welcome_(std::move(opened.welcome)),
      stop_event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      wake_event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      socket_(std::move(opened.socket)),
      liveness_page_(std::move(opened.liveness_page)),
      expects_alive_(opened.expects_alive),
      rendezvous_timeout_(absl::Milliseconds(welcome_.rendezvous_timeout_ms())) {}

void WorkerSession::Disposer::operator()(WorkerSession* session) const {
  if (session->stamp_.InSameProcess()) delete session;
}

WorkerSession::~WorkerSession() {
  if (reader_runs_) {
    // Cannot fail: the counter is far from its maximum.
    eventfd_write(stop_event_.get(), 1);
    pthread_join(reader_, nullptr);
  }
  CloseSocket();
}

void WorkerSession::CloseSocket() {
  // Closing would not end the connection while a forked child holds a copy of the socket.
  if (socket_.valid()) shutdown(socket_.get(), SHUT_RDWR);
  socket_.Reset();
}

absl::Status WorkerSession::StartReader() {
  // The application's signals are not for this thread. pthread_create, because std::thread throws
  // when it fails.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(&reader_, nullptr, &RunReader, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0)
    return absl::ErrnoToStatus(error, "start the thread that reads the session socket");
  reader_runs_ = true;
  pthread_setname_np(reader_, "nodecomm");
  return absl::OkStatus();
}

void* WorkerSession::RunReader(void* session) {
  static_cast<WorkerSession*>(session)->Run();
  return nullptr;
}

void WorkerSession::Run() {
  SayAlive().IgnoreError();  // where the daemon is gone, reading tells
  absl::Status end;
  while (end.ok()) {
    end = ReadUntilLost();
    const bool daemon_gone = absl::IsUnavailable(end);
    if (daemon_gone && !runtime_dir_.empty()) end = ResumeSession();
  }
  alive_.reset();
  // So that the daemon knows at once, and the peers with it: nobody acknowledges any more.
  CloseSocket();
  std::function<void()> unused;
  {
    const absl::MutexLock lock(&mutex_);
    connected_ = false;
    end_ = end;
    changed_.SignalAll();
    if (lingers_until_.has_value()) unused = on_unused_;
  }
  if (unused) unused();
}

absl::Status WorkerSession::SayAlive() {
  if (!expects_alive_) return absl::OkStatus();
  // Without it the daemon learns of this process's death a little later, by other means.
  absl::StatusOr<std::unique_ptr<LivenessLock>> lock =
      LivenessLock::Take(std::move(liveness_page_));
  if (lock.ok()) alive_ = *std::move(lock);
  return SendPatiently({.type = FrameType::kAlive, .transfer_id = 0, .payload = {}, .fds = {}});
}

absl::Status WorkerSession::ReadUntilLost() {
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool readable, WaitForSocket(socket_.get(), TimeToRetry()));
    if (readable) ABSL_RETURN_IF_ERROR(ReadFrame());
    ABSL_RETURN_IF_ERROR(RetryIfDue());
  }
}

absl::Duration WorkerSession::TimeToRetry() const {
  const absl::MutexLock lock(&mutex_);
  return retry_at_.has_value() ? *retry_at_ - SteadyNow() : absl::InfiniteDuration();
}

absl::Status WorkerSession::RetryIfDue() {
  std::function<void()> retry;
  {
    const absl::MutexLock lock(&mutex_);
    if (!retry_at_.has_value() || SteadyNow() < *retry_at_) return absl::OkStatus();
    retry_at_.reset();
    retrying_ = true;
    retry = on_retry_;
  }
  if (retry) retry();
  const absl::MutexLock lock(&mutex_);
  retrying_ = false;
  if (!lingers_until_.has_value()) return absl::OkStatus();
  if (retry_at_.has_value() && SteadyNow() < *lingers_until_) return absl::OkStatus();
  connected_ = false;  // who wants it from now on waits until it has ended
  changed_.SignalAll();
  return UnusedStatus();
}

absl::StatusOr<bool> WorkerSession::WaitForSocket(int socket, absl::Duration timeout) {
  const SteadyTime deadline = SteadyNow() + timeout;
  while (true) {
    std::array<pollfd, 3> watched = {
        pollfd{.fd = stop_event_.get(), .events = POLLIN, .revents = 0},
        pollfd{.fd = wake_event_.get(), .events = POLLIN, .revents = 0},
        pollfd{.fd = socket, .events = POLLIN, .revents = 0}};
    timespec left = absl::ToTimespec(std::max(deadline - SteadyNow(), absl::ZeroDuration()));
    const int ready = ppoll(watched.data(), watched.size(),
                            timeout == absl::InfiniteDuration() ? nullptr : &left, nullptr);
    if (ready < 0 && errno != EINTR) {
      return absl::ErrnoToStatus(errno, "poll on the session socket");
    }
    if (ready == 0) return false;
    if (ready < 0) continue;
    if (watched[0].revents != 0) return absl::CancelledError("the session was closed");
    if (watched[1].revents != 0) {
      eventfd_t wakes;
      eventfd_read(wake_event_.get(), &wakes);
    }
    return watched[2].revents != 0;
  }
}

absl::Status WorkerSession::ResumeSession() {
  {
    const absl::MutexLock lock(&mutex_);
    connected_ = false;
    ++interruptions_;
    changed_.SignalAll();
  }
  alive_.reset();
  absl::Duration interval = kResumeIntervalMin;
  while (true) {
    absl::Status resumed = TryToResume();
    // Permissions are wrong for a moment where a service manager makes the directory anew.
    const bool may_come = absl::IsUnavailable(resumed) || absl::IsResourceExhausted(resumed) ||
                          absl::IsPermissionDenied(resumed);
    if (!may_come) return resumed;
    {
      const absl::MutexLock lock(&mutex_);
      ++failed_attempts_;
      last_failure_ = resumed;
      changed_.SignalAll();
      if (lingers_until_.has_value() && SteadyNow() > *lingers_until_) return UnusedStatus();
    }
    ABSL_RETURN_IF_ERROR(WaitForSocket(-1, interval).status());
    interval = std::min(interval * 2, kResumeIntervalMax);
  }
}

absl::Status WorkerSession::TryToResume() {
  CloseSocket();  // the one that was lost, or the last attempt's
  v1::SessionResume resume;
  resume.set_session_id(welcome_.session_id());
  resume.set_token(welcome_.token());
  ABSL_ASSIGN_OR_RETURN(UniqueFd socket, ConnectSession(runtime_dir_, kHandshakeTimeout));
  ABSL_ASSIGN_OR_RETURN(OpenedSession opened,
                        ShakeHands(std::move(socket), PeerName(runtime_dir_), kResumeTimeout,
                                   {.session = &resume, .cancel = stop_event_.get()}));
  socket_ = std::move(opened.socket);
  liveness_page_ = std::move(opened.liveness_page);
  expects_alive_ = opened.expects_alive;
  // Before anything that takes time, and also if the session is to end at once: an end without it
  // would be a failed attempt for the daemon, which would wait for the next.
  ABSL_RETURN_IF_ERROR(SayAlive());
  std::function<void()> resumed;
  {
    const absl::MutexLock lock(&mutex_);
    resumed = on_resume_;
    retry_at_.reset();
  }
  if (resumed) resumed();
  std::map<uint64_t, Transfer> stale;  // closed after the lock is released
  const absl::MutexLock lock(&mutex_);
  if (lingers_until_.has_value() && !retry_at_.has_value()) return UnusedStatus();
  stale.swap(pending_);
  rendezvous_timeout_ = absl::Milliseconds(opened.welcome.rendezvous_timeout_ms());
  lost_up_to_ = opened.welcome.last_transfer_id();
  connected_ = true;
  changed_.SignalAll();
  return absl::OkStatus();
}

void WorkerSession::OnResume(std::function<void()> resumed) {
  const absl::MutexLock lock(&mutex_);
  on_resume_ = std::move(resumed);
}

void WorkerSession::OnRetry(std::function<void()> retry) {
  const absl::MutexLock lock(&mutex_);
  on_retry_ = std::move(retry);
}

void WorkerSession::RetryLater() {
  {
    const absl::MutexLock lock(&mutex_);
    if (retry_at_.has_value()) return;
    retry_at_ = SteadyNow() + kRetryInterval;
  }
  eventfd_write(wake_event_.get(), 1);
}

bool WorkerSession::Linger(absl::Duration timeout) {
  const absl::MutexLock lock(&mutex_);
  const bool nothing_to_do = connected_ && !retry_at_.has_value() && !retrying_;
  if (nothing_to_do || !end_.ok()) return false;
  lingers_until_ = SteadyNow() + timeout;
  return true;
}

void WorkerSession::OnUnused(std::function<void()> unused) {
  const absl::MutexLock lock(&mutex_);
  on_unused_ = std::move(unused);
}

void WorkerSession::StopLingering() {
  const absl::MutexLock lock(&mutex_);
  lingers_until_.reset();
}

absl::Status WorkerSession::EnsureConnected(absl::Duration timeout) {
  uint64_t failed_before;
  {
    const absl::MutexLock lock(&mutex_);
    failed_before = failed_attempts_;
    if (connected_) return absl::OkStatus();
  }
  eventfd_write(wake_event_.get(), 1);
  const absl::MutexLock lock(&mutex_);
  // An attempt that was under way may have begun before the daemon was there, so two are awaited.
  const auto settled = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return connected_ || !end_.ok() || failed_attempts_ >= failed_before + 2;
  };
  const bool in_time = changed_.Await(&mutex_, SteadyNow() + timeout, settled);
  if (connected_) return absl::OkStatus();
  if (!end_.ok()) return EndedStatus();
  return in_time ? last_failure_
                 : absl::UnavailableError("the session with nodecommd is not restored yet");
}

absl::Status WorkerSession::ReadFrame() {
  ABSL_ASSIGN_OR_RETURN(std::optional<Frame> frame, ReceiveFrame(socket_.get()));
  if (!frame.has_value()) return absl::OkStatus();
  if (frame->type != FrameType::kTransfer) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the daemon sent a frame of type %d after its welcome", frame->type));
  }
  const uint64_t transfer_id = frame->transfer_id;
  Keep(*std::move(frame));
  return SendPatiently(
      {.type = FrameType::kTransferAck, .transfer_id = transfer_id, .payload = {}, .fds = {}});
}

absl::Status WorkerSession::SendPatiently(const FrameView& frame) {
  const SteadyTime deadline = SteadyNow() + kSendTimeout;
  while (true) {
    absl::Status sent = SendFrame(socket_.get(), frame);
    if (!absl::IsResourceExhausted(sent) || SteadyNow() > deadline) return sent;
    ABSL_RETURN_IF_ERROR(WaitForSocket(-1, kSendRetryInterval).status());
  }
}

void WorkerSession::Keep(Frame frame) {
  Transfer dropped;  // closed, as `frame`, after the lock is released
  const absl::MutexLock lock(&mutex_);
  if (expectations_ == 0) return;
  if (pending_.size() == kPendingTransfersMax) {
    const auto oldest = pending_.begin();
    overflowed_up_to_ = oldest->first;
    dropped = std::move(oldest->second);
    pending_.erase(oldest);
  }
  pending_[frame.transfer_id] = {.fds = std::move(frame.fds), .lost = frame.fds_lost};
  changed_.SignalAll();
}

WorkerSession::Expectation::Expectation(WorkerSession& session) : session_(session) {
  const absl::MutexLock lock(&session_.mutex_);
  ++session_.expectations_;
}

WorkerSession::Expectation::~Expectation() {
  std::map<uint64_t, Transfer> lost;  // closed after the lock is released
  const absl::MutexLock lock(&session_.mutex_);
  if (--session_.expectations_ == 0) lost.swap(session_.pending_);
}

absl::Status WorkerSession::EndedStatus() const {
  return absl::UnavailableError(
      absl::StrFormat("the session with nodecommd has ended: %s", end_.message()));
}

absl::StatusOr<std::vector<UniqueFd>> WorkerSession::TakeTransfer(uint64_t transfer_id,
                                                                  SteadyTime deadline) {
  if (!stamp_.InSameProcess()) {
    return absl::FailedPreconditionError("the session was created before fork");
  }
  const absl::MutexLock lock(&mutex_);
  const uint64_t interruptions = interruptions_;
  const auto settled = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return pending_.contains(transfer_id) || transfer_id <= overflowed_up_to_ ||
           transfer_id <= lost_up_to_ || !end_.ok() || interruptions_ != interruptions ||
           !connected_;
  };
  if (!changed_.Await(&mutex_, deadline, settled)) {
    return absl::DeadlineExceededError(absl::StrFormat(
        "transfer %d of file descriptors did not come in time: nodecommd hangs; see its log",
        transfer_id));
  }
  if (const auto found = pending_.find(transfer_id); found != pending_.end()) {
    Transfer transfer = std::move(found->second);
    pending_.erase(found);
    if (!transfer.lost) return std::move(transfer.fds);
    return absl::ResourceExhaustedError(absl::StrFormat(
        "transfer %d of file descriptors was lost: this process may open no more files; raise its "
        "limit (ulimit -n)",
        transfer_id));
  }
  if (!end_.ok()) return EndedStatus();
  if (transfer_id <= overflowed_up_to_) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "transfer %d of file descriptors was dropped: %d later ones came before it was taken; "
        "create fewer communicators at the same moment",
        transfer_id, kPendingTransfersMax));
  }
  return absl::UnavailableError(absl::StrFormat(
      "transfer %d of file descriptors was lost: nodecommd went away; try again", transfer_id));
}

absl::Duration WorkerSession::rendezvous_timeout() const {
  const absl::MutexLock lock(&mutex_);
  return rendezvous_timeout_;
}

bool WorkerSession::ended() const {
  const absl::MutexLock lock(&mutex_);
  return !end_.ok();
}

}  // namespace nodecomm
