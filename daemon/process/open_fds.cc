#include "daemon/process/open_fds.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <limits>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"

namespace nodecomm {

int CountOpenFds() {
  std::error_code error;
  const std::filesystem::directory_iterator open_fds("/proc/self/fd", error);
  // None is left to read the directory with.
  if (error == std::errc::too_many_files_open ||
      error == std::errc::too_many_files_open_in_system) {
    return OpenFdsMax();
  }
  if (error) return 0;
  // Less the one that reads the directory.
  return static_cast<int>(std::distance(begin(open_fds), end(open_fds))) - 1;
}

int OpenFdsMax() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  // Unlimited, say.
  constexpr rlim_t kIntMax = std::numeric_limits<int>::max();
  return static_cast<int>(std::min(limit.rlim_cur, kIntMax));
}

bool SaysNoFdIsLeft(const absl::Status& status) {
  // The code is that of a full disk, too, and the words of ENFILE are these and more.
  return absl::IsResourceExhausted(status) &&
         absl::EndsWith(status.message(), std::strerror(EMFILE));
}

absl::Status WithFdAdvice(const absl::Status& status) {
  if (!SaysNoFdIsLeft(status)) return status;
  return absl::ResourceExhaustedError(absl::StrFormat("%s: raise LimitNOFILE (now %d, all in use)",
                                                      status.message(), OpenFdsMax()));
}

}  // namespace nodecomm
