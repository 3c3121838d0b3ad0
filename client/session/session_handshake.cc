#include "client/session/session_handshake.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"
#include "client/base/version.h"
#include "proto/framing.h"

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

// Bounds connect() too, which otherwise waits for ever once the daemon's backlog is full. Not 0,
// which is no bound.
absl::Status SetSendTimeout(int socket, absl::Duration timeout) {
  const timeval bound = absl::ToTimeval(timeout);
  if (setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound)) != 0) {
    return absl::ErrnoToStatus(errno, "setsockopt(SO_SNDTIMEO) on the session socket");
  }
  return absl::OkStatus();
}

absl::Status SendHello(int socket, const v1::SessionResume* resume) {
  v1::SessionHello hello;
  if (resume != nullptr) *hello.mutable_resume() = *resume;
  hello.mutable_version()->set_major(kVersionMajor);
  hello.mutable_version()->set_minor(kVersionMinor);
  hello.mutable_version()->set_patch(kVersionPatch);
  const std::string payload = hello.SerializeAsString();
  return SendFrame(socket, {.type = FrameType::kHello, .payload = payload, .fds = {}});
}

// Waits until `socket` is readable (or its peer gone), `cancel` is, or the deadline has passed.
absl::Status WaitReadable(int socket, int cancel, SteadyTime deadline) {
  std::array<pollfd, 2> watched = {pollfd{.fd = socket, .events = POLLIN, .revents = 0},
                                   pollfd{.fd = cancel, .events = POLLIN, .revents = 0}};
  while (true) {
    const absl::Duration left = deadline - SteadyNow();
    if (left <= absl::ZeroDuration()) return absl::DeadlineExceededError("no answer in time");
    const int ready =
        poll(watched.data(), watched.size(), static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    if (ready > 0 && watched[0].revents != 0) return absl::OkStatus();
    if (ready > 0) return absl::CancelledError("the session was closed");
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
  if (refusal.session_unknown()) {
    return absl::NotFoundError(absl::StrFormat(
        "%s does not know the session of this process any more: %s", peer, refusal.reason()));
  }
  if (refusal.daemon_failed() && VersionsFit(version)) {
    return absl::UnavailableError(
        absl::StrFormat("%s cannot serve this process: %s", peer, refusal.reason()));
  }
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

absl::Status ReceiveWelcome(const std::string& peer, absl::Duration timeout, int cancel,
                            OpenedSession& session) {
  const int socket = session.socket.get();
  if (absl::Status waited = WaitReadable(socket, cancel, SteadyNow() + timeout); !waited.ok()) {
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
  Frame& frame = **received;
  if (frame.type == FrameType::kRefusal) return RefusalError(frame.payload, peer);
  if (frame.type != FrameType::kWelcome || !session.welcome.ParseFromString(frame.payload)) {
    return absl::UnavailableError(absl::StrFormat(
        "%s sent a frame of type %d where a welcome was expected", peer, frame.type));
  }
  // A daemon of an earlier version sends no page.
  session.expects_alive = frame.fds.size() == 1 || frame.fds_lost;
  if (frame.fds.size() == 1) session.liveness_page = std::move(frame.fds.front());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> ConnectSession(const std::string& runtime_dir, absl::Duration timeout) {
  const std::string path = SessionSocketPath(runtime_dir);
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
  const SteadyTime deadline = SteadyNow() + timeout;
  int error;
  do {
    // A call that a signal ends begins its wait anew, and signals may come for ever.
    const absl::Duration left = deadline - SteadyNow();
    if (left < absl::Milliseconds(1)) return ConnectError(ETIMEDOUT, path);
    ABSL_RETURN_IF_ERROR(SetSendTimeout(socket.get(), left));
    const int result =
        connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    error = result == 0 ? 0 : errno;
  } while (error == EINTR);
  if (error != 0) return ConnectError(error, path);
  return socket;
}

std::string SessionSocketPath(const std::string& runtime_dir) {
  return runtime_dir + "/" + kSocketName;
}

absl::StatusOr<OpenedSession> ShakeHands(UniqueFd socket, const std::string& peer,
                                         absl::Duration timeout, const Resumption& resumption) {
  OpenedSession session;
  session.socket = std::move(socket);
  // A daemon that closes at once may have sent its refusal first: whether the hello went out is not
  // asked before that.
  const absl::Status sent = SendHello(session.socket.get(), resumption.session);
  if (!sent.ok() && !absl::IsUnavailable(sent)) return sent;
  const absl::Status welcomed = ReceiveWelcome(peer, timeout, resumption.cancel, session);
  if (welcomed.ok()) return session;
  // Or a child that is forked meanwhile would keep it open.
  shutdown(session.socket.get(), SHUT_RDWR);
  return welcomed;
}

}  // namespace nodecomm
