#include "client/session/worker_session.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/base/version.h"

namespace nodecomm {
namespace {

constexpr char kSocketName[] = "session.sock";

absl::Status ConnectError(int error, const std::string& path) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ECONNREFUSED:
      return absl::UnavailableError(absl::StrFormat(
          "no nodecommd at %s: start it (systemctl start nodecommd) or set NODECOMM_RUNTIME_DIR",
          path));
    case EAGAIN:
    case EINPROGRESS:
    case ETIMEDOUT:
      return absl::UnavailableError(absl::StrFormat(
          "nodecommd at %s does not accept connections: it hangs or is overloaded; see its log",
          path));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(absl::StrFormat(
          "no permission to connect to %s: this user must be allowed to use the daemon's directory",
          path));
    default:
      return absl::ErrnoToStatus(error, absl::StrFormat("connect to %s", path));
  }
}

// Bounds connect() too, which otherwise waits for ever once the daemon's backlog is full.
absl::Status SetSendTimeout(int socket, absl::Duration timeout) {
  const timeval bound = absl::ToTimeval(timeout);
  if (setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound)) != 0) {
    return absl::ErrnoToStatus(errno, "setsockopt(SO_SNDTIMEO) on the session socket");
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> ConnectSocket(const std::string& path, absl::Duration timeout) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "runtime directory is too long: %s has %d bytes, a socket's path has at most %d", path,
        path.size(), sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return absl::ErrnoToStatus(errno, "make the session socket");
  ABSL_RETURN_IF_ERROR(SetSendTimeout(socket.get(), timeout));
  int result;
  do {
    result = connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  } while (result != 0 && errno == EINTR);
  if (result != 0) return ConnectError(errno, path);
  return socket;
}

absl::Status SendHello(int socket) {
  v1::SessionHello hello;
  hello.mutable_version()->set_major(kVersionMajor);
  hello.mutable_version()->set_minor(kVersionMinor);
  hello.mutable_version()->set_patch(kVersionPatch);
  const std::string payload = hello.SerializeAsString();
  return SendFrame(socket, {.type = FrameType::kHello, .payload = payload, .fds = {}});
}

// Waits until `socket` is readable (or its peer gone) or the deadline has passed.
absl::Status WaitReadable(int socket, absl::Time deadline) {
  pollfd watched = {.fd = socket, .events = POLLIN, .revents = 0};
  while (true) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return absl::DeadlineExceededError("no answer in time");
    const int ready = poll(&watched, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR)
      return absl::ErrnoToStatus(errno, "poll on the session socket");
  }
}

bool VersionsFit(const v1::Version& daemon) {
  return daemon.major() == kVersionMajor && std::abs(daemon.minor() - kVersionMinor) <= 1;
}

absl::Status RefusalError(const std::string& payload, const std::string& peer) {
  v1::SessionRefusal refusal;
  if (!refusal.ParseFromString(payload)) {
    return absl::UnavailableError(absl::StrFormat("%s sent a refusal that cannot be read", peer));
  }
  const v1::Version& version = refusal.version();
  if (VersionsFit(version)) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%s refused this process: %s", peer, refusal.reason()));
  }
  absl::Status status = absl::FailedPreconditionError(absl::StrFormat(
      "%s has version %d.%d.%d, libnodecomm %s: install versions at most one minor version apart "
      "(%s)",
      peer, version.major(), version.minor(), version.patch(), kVersion, refusal.reason()));
  status.SetPayload(kUnsupportedVersionPayload, absl::Cord("1"));
  return status;
}

absl::StatusOr<v1::SessionWelcome> ReceiveWelcome(int socket, const std::string& peer,
                                                  absl::Duration timeout) {
  if (const absl::Status waited = WaitReadable(socket, absl::Now() + timeout); !waited.ok()) {
    if (!absl::IsDeadlineExceeded(waited)) return waited;
    return absl::UnavailableError(
        absl::StrFormat("%s did not answer within %s: it hangs or is overloaded; see its log", peer,
                        absl::FormatDuration(timeout)));
  }
  absl::StatusOr<std::optional<Frame>> received = ReceiveFrame(socket);
  if (absl::IsUnavailable(received.status())) {
    return absl::UnavailableError(absl::StrFormat(
        "%s closed the connection without a word: it is shutting down, or of a version that does "
        "not know this library (%s); see its log",
        peer, kVersion));
  }
  if (!received.ok()) {
    return absl::UnavailableError(absl::StrFormat("%s does not speak nodecomm's protocol: %s", peer,
                                                  received.status().message()));
  }
  // Readable, but no frame: a signal's race at worst.
  if (!received->has_value()) return absl::UnavailableError("empty read on the session socket");
  const Frame& frame = **received;
  if (frame.type == FrameType::kRefusal) return RefusalError(frame.payload, peer);
  v1::SessionWelcome welcome;
  if (frame.type != FrameType::kWelcome || !welcome.ParseFromString(frame.payload)) {
    return absl::UnavailableError(absl::StrFormat(
        "%s sent a frame of type %d where a welcome was expected", peer, frame.type));
  }
  return welcome;
}

}  // namespace

absl::StatusOr<WorkerSession::Owner> WorkerSession::Connect(const std::string& runtime_dir,
                                                            absl::Duration timeout) {
  const std::string path = runtime_dir + "/" + kSocketName;
  ABSL_ASSIGN_OR_RETURN(UniqueFd socket, ConnectSocket(path, timeout));
  return Handshake(std::move(socket), absl::StrFormat("nodecommd at %s", path), timeout);
}

absl::StatusOr<WorkerSession::Owner> WorkerSession::Handshake(UniqueFd socket,
                                                              const std::string& peer,
                                                              absl::Duration timeout) {
  // A daemon that closes at once may have sent its refusal first: whether the hello went out is not
  // asked before that.
  const absl::Status sent = SendHello(socket.get());
  if (!sent.ok() && !absl::IsUnavailable(sent)) return sent;
  ABSL_ASSIGN_OR_RETURN(v1::SessionWelcome welcome, ReceiveWelcome(socket.get(), peer, timeout));
  UniqueFd stop_event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_event.valid()) return absl::ErrnoToStatus(errno, "eventfd for the session's reader");
  Owner session(new WorkerSession(std::move(socket), std::move(stop_event), std::move(welcome)));
  ABSL_RETURN_IF_ERROR(session->StartReader());
  return session;
}

WorkerSession::WorkerSession(UniqueFd socket, UniqueFd stop_event, v1::SessionWelcome welcome)
    : socket_(std::move(socket)),
      stop_event_(std::move(stop_event)),
      welcome_(std::move(welcome)) {}

void WorkerSession::Disposer::operator()(WorkerSession* session) const {
  if (session->stamp_.InSameProcess()) {
    delete session;
    return;
  }
  session->socket_.Reset();
  session->stop_event_.Reset();
}

WorkerSession::~WorkerSession() {
  if (!reader_runs_) return;
  // Cannot fail: the counter is far from its maximum.
  eventfd_write(stop_event_.get(), 1);
  pthread_join(reader_, nullptr);
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
  static_cast<WorkerSession*>(session)->ReadUntilEnd();
  return nullptr;
}

void WorkerSession::ReadUntilEnd() {
  absl::Status status;
  while (status.ok()) {
    std::array<pollfd, 2> watched = {
        pollfd{.fd = stop_event_.get(), .events = POLLIN, .revents = 0},
        pollfd{.fd = socket_.get(), .events = POLLIN, .revents = 0}};
    // Without a bound of its own: it ends with the session, by the stop event or by the socket.
    if (poll(watched.data(), watched.size(), -1) < 0) {
      if (errno != EINTR) status = absl::ErrnoToStatus(errno, "poll on the session socket");
    } else if (watched[0].revents != 0) {
      status = absl::CancelledError("the session was closed");
    } else if (watched[1].revents != 0) {
      status = ReadFrame();
    }
  }
  const absl::MutexLock lock(&mutex_);
  end_ = status;
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
  return SendFrame(
      socket_.get(),
      {.type = FrameType::kTransferAck, .transfer_id = transfer_id, .payload = {}, .fds = {}});
}

void WorkerSession::Keep(Frame frame) {
  std::vector<UniqueFd> dropped;  // closed after the lock is released
  const absl::MutexLock lock(&mutex_);
  if (pending_.size() == kPendingTransfersMax) {
    const auto oldest = pending_.begin();
    dropped_up_to_ = oldest->first;
    dropped = std::move(oldest->second);
    pending_.erase(oldest);
  }
  pending_[frame.transfer_id] = std::move(frame.fds);
}

bool WorkerSession::Arrived(uint64_t transfer_id) const {
  return pending_.contains(transfer_id) || transfer_id <= dropped_up_to_ || !end_.ok();
}

absl::StatusOr<std::vector<UniqueFd>> WorkerSession::TakeTransfer(uint64_t transfer_id,
                                                                  absl::Time deadline) {
  if (!stamp_.InSameProcess()) {
    return absl::FailedPreconditionError("the session was created before fork");
  }
  const auto arrived = [this, transfer_id]()
                           ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return Arrived(transfer_id); };
  const absl::MutexLock lock(&mutex_);
  if (!mutex_.AwaitWithDeadline(absl::Condition(&arrived), deadline)) {
    return absl::DeadlineExceededError(absl::StrFormat(
        "transfer %d of file descriptors did not come in time: nodecommd hangs; see its log",
        transfer_id));
  }
  if (const auto found = pending_.find(transfer_id); found != pending_.end()) {
    std::vector<UniqueFd> fds = std::move(found->second);
    pending_.erase(found);
    return fds;
  }
  if (transfer_id <= dropped_up_to_) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "transfer %d of file descriptors was dropped: %d later ones came before it was taken; "
        "create fewer communicators at the same moment",
        transfer_id, kPendingTransfersMax));
  }
  return absl::UnavailableError(
      absl::StrFormat("the session with nodecommd has ended: %s", end_.message()));
}

bool WorkerSession::ended() const {
  const absl::MutexLock lock(&mutex_);
  return !end_.ok();
}

}  // namespace nodecomm
