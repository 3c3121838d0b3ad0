#include "client/base/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace nodecomm {

void OpenMissingStandardStreams(Missing missing) {
  // open() takes the lowest free number; the first above 2 says that all three are there.
  int fd;
  do {
    fd = open("/dev/null", missing == Missing::kFailsWrites ? O_RDONLY : O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

absl::Status FlushStandardOutput() {
  // What is lost stays lost, whatever is written behind it.
  static int lost_for = 0;
  if (lost_for == 0) {
    errno = 0;
    const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
    if (written) return absl::OkStatus();
    lost_for = errno != 0 ? errno : EIO;  // an earlier write failed, and its reason is gone
  }
  return absl::ErrnoToStatus(lost_for, "standard output");
}

}  // namespace nodecomm
