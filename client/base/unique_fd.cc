#include "client/base/unique_fd.h"

#include <fcntl.h>
#include <unistd.h>

namespace nodecomm {

void UniqueFd::Reset(int fd) {
  // close() is not retried on EINTR: on Linux the descriptor is gone either way.
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

UniqueFd UniqueFd::Duplicate() const { return UniqueFd(fcntl(fd_, F_DUPFD_CLOEXEC, 0)); }

}  // namespace nodecomm
