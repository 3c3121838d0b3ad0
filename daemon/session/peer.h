// Who is at the other end of a Unix socket, as the kernel says.
// Not a policy: what a uid may do is decided by the callers.
// Design note: daemon/README.md, "sockets".
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/base/unique_fd.h"
#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
};

// The process that called connect(), with its user at that moment.
absl::StatusOr<PeerCredentials> ReadPeerCredentials(int socket);

// A descriptor that becomes readable when that process has ended, whoever else holds the socket.
// Unavailable: it has ended already.
absl::StatusOr<UniqueFd> OpenPeerPidfd(int socket, pid_t pid);

// Likewise of any process. NotFound or Unavailable: there is none.
absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid);

// When the process began, in ticks since the boot; 0: it is hidden from the daemon, or has ended.
// Tells a process from a later one of the same id. ResourceExhausted: not to be read at this
// moment. Source: proc(5), /proc/pid/stat, field 22.
absl::StatusOr<uint64_t> ReadProcessStart(pid_t pid);

// Whether it is there, has not begun to end and was not killed: one that was killed in a system
// call that does not come back, a driver's perhaps, has not begun. False also if it is hidden from
// the daemon. Source: proc(5), /proc/pid/stat, field 9, with PF_EXITING and PF_DUMPCORE of Linux's
// sched.h, and /proc/pid/status, SigPnd and ShdPnd.
bool LivesOn(pid_t pid);

// Whether it goes on at this moment. UNSPECIFIED: it is hidden from the daemon, or there is none.
v1::ProcessState ReadProcessState(pid_t pid);

}  // namespace nodecomm
