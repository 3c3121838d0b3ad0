#include "daemon/session/foreign_sockets.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

constexpr int kSoPassRights = 83;  // SO_PASSRIGHTS of Linux 6.16; older C libraries do not name it

// Those that this thread reads; who has more waiting has its socket closed elsewhere.
constexpr int kMessagesMax = 4096;

bool HasEmptyMessages(int socket) {
  int type = 0;
  socklen_t length = sizeof(type);
  return getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM;
}

// Of empty messages and the end, which read the same, the kernel gives times to messages alone.
bool AskForTimes(int socket) {
  const int on = 1;
  return setsockopt(socket, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on)) == 0;
}

// Lets nothing more in and reads what is there, up to a message that has descriptors, which stays.
// False: there is one, or too much else. Looking does not take: what the kernel cannot hand over
// for want of a buffer it only flags.
bool EmptyUpToDescriptors(int socket) {
  shutdown(socket, SHUT_RD);
  const bool times = HasEmptyMessages(socket);
  if (times && !AskForTimes(socket)) return false;
  std::array<char, 4096> scratch;
  // Room for a time and nothing else.
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(timeval))> control;
  for (int i = 0; i < kMessagesMax; ++i) {
    iovec part = {scratch.data(), scratch.size()};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (times) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
    }
    const ssize_t length = recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT);
    if ((message.msg_flags & MSG_CTRUNC) != 0) return false;
    if (length < 0 && errno == EAGAIN) return true;
    if (length < 0 && errno != EINTR && errno != ECONNRESET) return false;
    if (length < 0) continue;
    if (length == 0 && message.msg_controllen == 0) return true;
    // No more than was looked at: of a stream, the next bytes may bring some.
    recv(socket, scratch.data(), static_cast<size_t>(std::max<ssize_t>(length, 1)), MSG_DONTWAIT);
  }
  return false;
}

}  // namespace

struct ForeignSockets::Counts {
  absl::Mutex mu;
  int all ABSL_GUARDED_BY(mu) = 0;
  absl::flat_hash_map<uid_t, int> by_uid ABSL_GUARDED_BY(mu);

  void Add(uid_t uid) {
    absl::MutexLock lock(&mu);
    ++all;
    ++by_uid[uid];
  }
  void Subtract(uid_t uid) {
    absl::MutexLock lock(&mu);
    --all;
    const auto count = by_uid.find(uid);
    if (--count->second == 0) by_uid.erase(count);
  }
};

bool RefuseDescriptors(int listener) {
  const int passes = 0;
  return setsockopt(listener, SOL_SOCKET, kSoPassRights, &passes, sizeof(passes)) == 0;
}

bool RefusesDescriptors(int socket) {
  int passes = 1;
  socklen_t length = sizeof(passes);
  return getsockopt(socket, SOL_SOCKET, kSoPassRights, &passes, &length) == 0 && passes == 0;
}

absl::StatusOr<std::unique_ptr<ForeignSockets>> ForeignSockets::Create() {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Background> closer, Background::Start("closer"));
  return std::unique_ptr<ForeignSockets>(
      new ForeignSockets(std::make_shared<Counts>(), std::move(closer)));
}

ForeignSockets::ForeignSockets(std::shared_ptr<Counts> counts, std::unique_ptr<Background> closer)
    : counts_(std::move(counts)), closer_(std::move(closer)) {}

void ForeignSockets::Close(UniqueFd socket, uid_t uid) {
  if (!socket.valid() || RefusesDescriptors(socket.get()) || EmptyUpToDescriptors(socket.get())) {
    return;
  }
  // The peer hears of it at once, whenever it is closed.
  shutdown(socket.get(), SHUT_RDWR);
  counts_->Add(uid);
  closer_->Run([counts = counts_, uid, socket = std::move(socket)]() mutable {
    socket.Reset();
    counts->Subtract(uid);
  });
}

int ForeignSockets::count() const {
  absl::MutexLock lock(&counts_->mu);
  return counts_->all;
}

int ForeignSockets::CountOf(uid_t uid) const {
  absl::MutexLock lock(&counts_->mu);
  const auto count = counts_->by_uid.find(uid);
  return count == counts_->by_uid.end() ? 0 : count->second;
}

}  // namespace nodecomm
