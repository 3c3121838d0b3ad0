#include "daemon/main/process_setup.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

namespace nodecomm {

void OpenMissingStandardStreams() {
  // open() takes the lowest free number; the first above 2 says that all three are there.
  int fd;
  do {
    fd = open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

void BoundHeapArenas() {
  constexpr int kArenasMax = 2;
  mallopt(M_ARENA_MAX, kArenasMax);
}

absl::Status RaiseFileLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::ErrnoToStatus(errno, "getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::ErrnoToStatus(errno, "setrlimit");
  return absl::OkStatus();
}

}  // namespace nodecomm
