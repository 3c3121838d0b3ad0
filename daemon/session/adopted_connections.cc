#include "daemon/session/adopted_connections.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "daemon/process/open_fds.h"

namespace nodecomm {
namespace {

// Of closing nobody is told, so it is looked for.
constexpr absl::Duration kLookInterval = absl::Milliseconds(100);

// Whether the number still names that socket; it may name another file meanwhile.
bool NamesTheSame(int fd, int other_fd) {
  struct stat info = {};
  struct stat other = {};
  return fstat(fd, &info) == 0 && fstat(other_fd, &other) == 0 && info.st_dev == other.st_dev &&
         info.st_ino == other.st_ino;
}

// Bounded, since nothing more comes.
void DropWhatHasCome(int socket) {
  std::array<char, 65536> scratch;
  while (recv(socket, scratch.data(), scratch.size(), MSG_DONTWAIT) > 0) {
  }
}

}  // namespace

absl::Status AdoptedConnections::Add(const UniqueFd& connection, const PeerCredentials& peer) {
  if (CountOf(peer.uid) >= limit_.per_uid_max) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("uid %d has %d connections already, the most allowed (%s)%s; all "
                        "users have %d",
                        peer.uid, limit_.per_uid_max, limit_.name, MostOf(peer.uid), count()));
  }
  UniqueFd duplicate = connection.Duplicate();
  if (!duplicate.valid()) {
    const absl::Status failed = absl::ErrnoToStatus(errno, "watching a connection");
    return absl::Status(
        failed.code(),
        absl::StrFormat("%s; uid %d has %d connections, all users have %d",
                        WithFdAdvice(failed).message(), peer.uid, CountOf(peer.uid), count()));
  }
  const uint64_t id = ++last_id_;
  // Hang-ups only: what there is to read is gRPC's.
  ABSL_RETURN_IF_ERROR(poller_->Add(duplicate.get(), EPOLLRDHUP, {.kind = kind_, .id = id}));
  watched_.emplace(
      id, Watched{.duplicate = std::move(duplicate), .owners_fd = connection.get(), .peer = peer});
  absl::MutexLock lock(&mu_);
  ++count_by_uid_[peer.uid];
  return absl::OkStatus();
}

std::map<uid_t, int> AdoptedConnections::CountByUser() const {
  absl::MutexLock lock(&mu_);
  return count_by_uid_;
}

std::string AdoptedConnections::MostOf(uid_t uid) const {
  std::map<pid_t, int> counts;
  for (const auto& [id, watched] : watched_) {
    if (watched.peer.uid == uid && watched.peer.pid != 0) ++counts[watched.peer.pid];
  }
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == counts.end()) return "";
  return absl::StrFormat("; process %d has %d of them", most->first, most->second);
}

int AdoptedConnections::CountOf(uid_t uid) const {
  absl::MutexLock lock(&mu_);
  const auto count = count_by_uid_.find(uid);
  return count == count_by_uid_.end() ? 0 : count->second;
}

void AdoptedConnections::CutOff(uid_t uid) const {
  for (const auto& [id, watched] : watched_) {
    if (watched.peer.uid != uid) continue;
    shutdown(watched.duplicate.get(), SHUT_RDWR);
    // The owner would still read what has come.
    if (RefusesDescriptors(watched.duplicate.get())) DropWhatHasCome(watched.duplicate.get());
  }
}

void AdoptedConnections::ProcessEnded(const PeerCredentials& process) const {
  if (process.pid == 0) return;  // hidden from the daemon, as others are
  for (const auto& [id, watched] : watched_) {
    if (watched.peer.uid != process.uid || watched.peer.pid != process.pid) continue;
    shutdown(watched.duplicate.get(), SHUT_RDWR);
  }
}

void AdoptedConnections::OnHangUp(uint64_t id) {
  const auto it = watched_.find(id);
  if (it == watched_.end()) return;
  // epoll watches the socket, which gRPC may still hold, not the descriptor: closing alone would
  // leave the watch.
  poller_->Remove(it->second.duplicate.get());
  if (ForgetIfClosed(id)) return;
  // Who hangs up again and again does not put off the look at the others.
  if (hung_up_.empty()) look_again_ = SteadyNow() + kLookInterval;
  hung_up_.push_back(id);
}

bool AdoptedConnections::ForgetIfClosed(uint64_t id) {
  const auto it = watched_.find(id);
  if (NamesTheSame(it->second.owners_fd, it->second.duplicate.get())) return false;
  {
    absl::MutexLock lock(&mu_);
    const auto count = count_by_uid_.find(it->second.peer.uid);
    if (--count->second == 0) count_by_uid_.erase(count);
  }
  foreign_->Close(std::move(it->second.duplicate), it->second.peer.uid);
  watched_.erase(it);
  return true;
}

SteadyTime AdoptedConnections::NextDeadline() const {
  return hung_up_.empty() ? SteadyTime::InfiniteFuture() : look_again_;
}

void AdoptedConnections::RunTimers(SteadyTime now) {
  if (NextDeadline() > now) return;
  std::erase_if(hung_up_, [this](uint64_t id) { return ForgetIfClosed(id); });
  look_again_ = now + kLookInterval;
}

}  // namespace nodecomm
