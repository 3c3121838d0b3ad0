#include "daemon/memory/allocator_child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/base/status_macros.h"
#include "daemon/memory/allocator_protocol.h"

namespace nodecomm {
namespace {

// A killed process ends at once unless it is stuck inside the driver; then nobody can help it.
constexpr absl::Duration kReapTimeout = absl::Seconds(5);

// What the child starts with: the socket as standard input, its own process group (so that the
// terminal's Ctrl-C does not reach it before the daemon has decided), no blocked signals.
class SpawnSetup {
 public:
  explicit SpawnSetup(int socket) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_adddup2(&actions_, socket, kAllocatorSocket);
    posix_spawnattr_init(&attributes_);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes_, 0);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
  }
  ~SpawnSetup() {
    posix_spawnattr_destroy(&attributes_);
    posix_spawn_file_actions_destroy(&actions_);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

// Whether the process behind `pidfd` has ended, after waiting at most `timeout`.
bool WaitForEnd(int pidfd, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    timespec left = absl::ToTimespec(std::max(deadline - absl::Now(), absl::ZeroDuration()));
    pollfd waited = {pidfd, POLLIN, 0};
    const int ready = ppoll(&waited, 1, &left, nullptr);
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

std::string DescribeEnding(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return absl::StrFormat("exited with code %d", info.si_status);
  return absl::StrFormat("was ended by signal %d", info.si_status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<AllocatorChild>> AllocatorChild::Start(const std::string& program) {
  std::array<int, 2> pair;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair for the allocator");
  }
  UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  const SpawnSetup setup(theirs.get());
  std::string name = program;
  char* const argv[] = {name.data(), nullptr};
  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, program.c_str(), setup.actions(), setup.attributes(), argv, environ);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrFormat("starting the allocator %s: %s; install it beside nodecommd", program,
                        absl::ErrnoToStatus(error, "posix_spawn").message()));
  }
  // Before anybody reaps it, so the id is surely still the child's.
  // (By syscall: the header of glibc 2.36 declares pidfd_open without extern "C".)
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) {
    const absl::Status status =
        absl::ErrnoToStatus(errno, absl::StrFormat("pidfd_open of the allocator, process %d", pid));
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return status;
  }
  return std::unique_ptr<AllocatorChild>(
      new AllocatorChild(pid, std::move(pidfd), std::move(ours), program));
}

AllocatorChild::AllocatorChild(pid_t pid, UniqueFd pidfd, UniqueFd socket, std::string program)
    : pid_(pid),
      pidfd_(std::move(pidfd)),
      socket_(std::move(socket)),
      program_(std::move(program)) {}

AllocatorChild::~AllocatorChild() { End(); }

bool AllocatorChild::IsAlive() const {
  return ending_.empty() && !WaitForEnd(pidfd_.get(), absl::ZeroDuration());
}

std::string AllocatorChild::End() {
  if (!ending_.empty()) return ending_;
  // A child that died by itself shows so within the moment that its socket's closing takes to
  // become its end.
  if (!WaitForEnd(pidfd_.get(), absl::Milliseconds(100))) {
    // Its id is its own until it is reaped, which only happens here.
    kill(pid_, SIGKILL);
  }
  siginfo_t info = {};
  if (!WaitForEnd(pidfd_.get(), kReapTimeout)) {
    // It becomes a zombie of the daemon if it ever ends; better than a daemon that hangs with it.
    ending_ = "was killed but does not end (is the driver stuck?)";
  } else if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) != 0) {
    ending_ = "has ended in an unknown way";
  } else {
    ending_ = DescribeEnding(info);
  }
  return ending_;
}

absl::Status AllocatorChild::Broken(std::string_view what) {
  return absl::UnavailableError(
      absl::StrFormat("the allocator (%s, process %d) %s; it %s, and the next call starts it again",
                      program_, pid_, what, End()));
}

AllocatorChild::Answer AllocatorChild::Ask(std::string_view gpu_uuid, ByteCount bytes,
                                           absl::Duration timeout) {
  const uint64_t id = next_id_++;
  const absl::Status sent = SendAllocatorRequest(
      socket_.get(), {.id = id, .gpu_uuid = std::string(gpu_uuid), .bytes = bytes});
  if (absl::IsInvalidArgument(sent)) return {.usable = true, .plane = sent};
  if (!sent.ok()) return {.usable = false, .plane = Broken("does not listen")};

  absl::StatusOr<AllocatorReply> reply =
      ReceiveAllocatorReply(socket_.get(), absl::Now() + timeout);
  if (absl::IsDeadlineExceeded(reply.status())) {
    const std::string what =
        absl::StrFormat("did not answer within %s", absl::FormatDuration(timeout));
    return {.usable = false, .plane = Broken(what)};
  }
  if (absl::IsUnavailable(reply.status())) {
    return {.usable = false, .plane = Broken("died before it answered")};
  }
  if (!reply.ok()) {
    return {.usable = false, .plane = Broken(std::string(reply.status().message()))};
  }
  if (reply->id != id || (reply->status.ok() && reply->bytes < bytes)) {
    return {.usable = false, .plane = Broken("answered another question than was asked")};
  }
  if (!reply->status.ok()) {
    // Unavailable: the driver did not start in the child, which therefore ends.
    return {.usable = !absl::IsUnavailable(reply->status), .plane = reply->status};
  }
  return {.usable = true, .plane = Plane{std::move(reply->fd), reply->bytes}};
}

}  // namespace nodecomm
