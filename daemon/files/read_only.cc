#include "daemon/files/read_only.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

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

bool IsReadOnly(int fd) {
  struct statvfs system = {};
  return fstatvfs(fd, &system) == 0 && (system.f_flag & ST_RDONLY) != 0;
}

bool IsSameFile(int a, int b) {
  struct stat first = {};
  struct stat second = {};
  return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// The directory in the mount that the daemon was given, or as it is where there is none of this
// very directory.
absl::StatusOr<UniqueFd> OpenGivenDirectory(const std::string& dir) {
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  UniqueFd directory(open(dir.c_str(), kFlags));
  if (!directory.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", dir));
  const UniqueFd parent(openat(directory.get(), "..", kFlags));
  if (!parent.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", dir, "/.."));
  // Strangers may have put anything beside a directory in /tmp: no link of theirs is followed, and
  // nothing looked up in what is not the very parent.
  const std::string path = ReadOnlyViewOf(dir);
  const size_t slash = path.rfind('/');
  const UniqueFd given(open(path.substr(0, slash).c_str(), kFlags | O_NOFOLLOW));
  if (!given.valid()) {
    absl::Status failed = absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
    if (absl::IsResourceExhausted(failed)) return failed;
    return directory;
  }
  if (!IsSameFile(given.get(), parent.get()) || !IsReadOnly(given.get())) return directory;
  UniqueFd view(openat(given.get(), path.substr(slash + 1).c_str(), kFlags | O_NOFOLLOW));
  if (!view.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
  return IsReadOnly(view.get()) && IsSameFile(view.get(), directory.get()) ? std::move(view)
                                                                           : std::move(directory);
}

// A second mount of the directory, in nobody's tree, which lives while it or a file opened through
// it is open. Where that is not allowed, what the daemon was given. ResourceExhausted: it is
// allowed, and whoever is short of it now must not get the file without.
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
  return OpenGivenDirectory(dir);
}

}  // namespace

absl::StatusOr<UniqueFd> OpenForStrangers(const std::string& dir, const std::string& name) {
  ABSL_ASSIGN_OR_RETURN(const UniqueFd directory, OpenDirectory(dir));
  UniqueFd file(openat(directory.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.valid()) return file;
  return absl::ErrnoToStatus(errno, absl::StrFormat("opening %s/%s read-only", dir, name));
}

bool IsReadOnlyForStrangers(const std::string& dir) {
  const absl::StatusOr<UniqueFd> directory = OpenDirectory(dir);
  return directory.ok() && IsReadOnly(directory->get());
}

std::string ReadOnlyViewOf(const std::string& dir) {
  const size_t slash = dir.rfind('/');
  const size_t parent_end = dir.find_last_not_of('/', slash) + 1;
  return absl::StrCat(dir.substr(0, parent_end), ".read-only", dir.substr(slash));
}

}  // namespace nodecomm
