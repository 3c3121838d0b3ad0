#include "daemon/files/read_only.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

// open_tree(2) and mount_setattr(2); older C libraries name neither them nor what they take.
constexpr long kSysOpenTree = 428;
constexpr long kSysMountSetattr = 442;
constexpr unsigned kOpenTreeClone = 1;
constexpr uint64_t kMountAttrReadOnly = 1;
struct MountAttributes {
  uint64_t set = 0;
  uint64_t clear = 0;
  uint64_t propagation = 0;
  uint64_t user_namespace = 0;
};

// A second mount of the directory, in nobody's tree, which lives while it or a file opened through
// it is open. Where that is not allowed, the directory itself. ResourceExhausted: it is allowed,
// and whoever is short of it now must not get the file without.
absl::StatusOr<UniqueFd> OpenDirectory(const std::string& dir) {
  UniqueFd mount(static_cast<int>(
      syscall(kSysOpenTree, AT_FDCWD, dir.c_str(), kOpenTreeClone | unsigned{O_CLOEXEC})));
  const MountAttributes read_only = {.set = kMountAttrReadOnly};
  if (mount.valid() && syscall(kSysMountSetattr, mount.get(), "", AT_EMPTY_PATH, &read_only,
                               sizeof(read_only)) == 0) {
    return mount;
  }
  absl::Status failed = absl::ErrnoToStatus(errno, absl::StrFormat("mounting %s read-only", dir));
  if (absl::IsResourceExhausted(failed)) return failed;
  UniqueFd directory(open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", dir));
  return directory;
}

}  // namespace

absl::StatusOr<UniqueFd> OpenForStrangers(const std::string& dir, const std::string& name) {
  ABSL_ASSIGN_OR_RETURN(const UniqueFd directory, OpenDirectory(dir));
  UniqueFd file(openat(directory.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.valid()) return file;
  return absl::ErrnoToStatus(errno, absl::StrFormat("opening %s/%s read-only", dir, name));
}

}  // namespace nodecomm
