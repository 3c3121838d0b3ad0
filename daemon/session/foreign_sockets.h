// Closes sockets whose other ends are strangers'. A stranger can send a descriptor of a socket that
// lingers (SO_LINGER) or of a slow file system; whoever takes it, or closes the socket that it
// waits in, may be the one who closes it for good, and that may take for ever. So none is let in
// (Linux 6.16 and later), and where that cannot be had, none is taken, and a socket in which one
// waits is closed on a thread of its own. Design note: daemon/README.md, "sockets".
#pragma once

#include <sys/types.h>

#include <memory>

#include "absl/status/statusor.h"
#include "client/base/unique_fd.h"
#include "daemon/process/background.h"

namespace nodecomm {

// From now on who connects to this listening socket can send no descriptor (EPERM). False: this
// kernel cannot refuse them.
bool RefuseDescriptors(int listener);

// Whether nobody can have sent a descriptor to this socket, so that it may be read and closed here.
bool RefusesDescriptors(int socket);

// Thread-safe.
class ForeignSockets {
 public:
  static absl::StatusOr<std::unique_ptr<ForeignSockets>> Create();

  // Closes a Unix socket that was accepted from this user. Never blocks. Bounded by what the user
  // may have open: what is not closed yet counts.
  void Close(UniqueFd socket, uid_t uid);

  // Being closed still.
  int count() const;
  int CountOf(uid_t uid) const;

 private:
  struct Counts;
  ForeignSockets(std::shared_ptr<Counts> counts, std::unique_ptr<Background> closer);

  const std::shared_ptr<Counts> counts_;
  const std::unique_ptr<Background> closer_;
};

}  // namespace nodecomm
