#include "daemon/main/process_setup.h"

#include <malloc.h>
#include <sys/resource.h>

#include <cerrno>

#include "absl/strings/str_format.h"
#include "client/base/spare_threads.h"
#include "daemon/process/open_fds.h"

namespace nodecomm {
namespace {

constexpr int kFilesMin = 64;
// Records and proofs stay far below; what simulated GPUs hold is their pools' affair.
constexpr rlim_t kFileBytesMin = 1 << 20;

absl::Status CheckThreads() {
  const int wanted = ThreadsWanted(ProcessorsOfGrpc());
  const SpareThreads spare = CountSpareThreads(wanted);
  if (spare.next.ok()) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "only %d threads can be made, of at least %d (%s): raise what bounds them by %d at least, "
      "TasksMax= of the unit, pids.max of the container, or the limit on processes or address "
      "space (ulimit -u, -v)",
      spare.count, wanted, spare.next.message(), wanted - spare.count));
}

absl::Status CheckFileSize() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0) return absl::ErrnoToStatus(errno, "getrlimit");
  if (limit.rlim_cur >= kFileBytesMin) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "files of at most %d bytes can be written, of at least %d: raise LimitFSIZE= of the unit, or "
      "the limit on the size of files (ulimit -f)",
      limit.rlim_cur, kFileBytesMin));
}

}  // namespace

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

absl::Status CheckLimits() {
  if (OpenFdsMax() < kFilesMin) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("the daemon may open %d files, of at least %d: raise LimitNOFILE= of the "
                        "unit, or the limit on open files (ulimit -n)",
                        OpenFdsMax(), kFilesMin));
  }
  if (absl::Status size = CheckFileSize(); !size.ok()) return size;
  return CheckThreads();
}

}  // namespace nodecomm
