#include "client/base/stack_size.h"

#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "absl/strings/str_format.h"

namespace nodecomm {
namespace {

// What Linux gives a process that nobody has limited. Reserved, not used.
constexpr rlim_t kStackBytesWanted = 8 << 20;
// With 22 KiB the daemon served a simulated host, with 20 it died; and what it reads is nested.
constexpr rlim_t kStackBytesMin = 256 << 10;
// What glibc takes where there is no limit.
constexpr size_t kThreadStackBytesMin = 2 << 20;

absl::Status RaiseLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_STACK, &limit) != 0) return absl::ErrnoToStatus(errno, "getrlimit");
  if (limit.rlim_cur >= kStackBytesWanted) return absl::OkStatus();
  limit.rlim_cur = std::min(limit.rlim_max, kStackBytesWanted);
  if (setrlimit(RLIMIT_STACK, &limit) != 0) return absl::ErrnoToStatus(errno, "setrlimit");
  if (limit.rlim_cur >= kStackBytesMin) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("the stack may have %d bytes, of at least %d: raise LimitSTACK= of the unit, "
                      "or the limit on the stack (ulimit -s)",
                      limit.rlim_cur, kStackBytesMin));
}

}  // namespace

absl::Status MakeRoomForStacks() {
  if (absl::Status raised = RaiseLimit(); !raised.ok()) return raised;
  pthread_attr_t attributes;
  size_t bytes = 0;
  pthread_getattr_default_np(&attributes);
  pthread_attr_getstacksize(&attributes, &bytes);
  // Cannot fail: the size is a sound one.
  pthread_attr_setstacksize(&attributes, std::max(bytes, kThreadStackBytesMin));
  pthread_setattr_default_np(&attributes);
  pthread_attr_destroy(&attributes);
  return absl::OkStatus();
}

}  // namespace nodecomm
