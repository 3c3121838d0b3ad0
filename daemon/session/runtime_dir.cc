#include "daemon/session/runtime_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "daemon/session/foreign_sockets.h"

namespace nodecomm {
namespace {

// Connections that wait to be accepted; the kernel refuses more (EAGAIN), and clients try again.
constexpr int kListenBacklog = 256;

constexpr mode_t kSharedSocketMode = 0666;
constexpr mode_t kPrivateMode = 0700;
constexpr mode_t kPrivateSocketMode = 0600;
constexpr mode_t kPrivateFileMode = 0600;

// Why a file of the daemon's own cannot be opened (errno), and what mends it.
absl::Status OpenError(std::string_view what, const std::string& path) {
  const int error = errno;
  absl::Status cause = absl::ErrnoToStatus(error, absl::StrFormat("cannot open %s %s", what, path));
  const bool denied = error == EACCES || error == EPERM;
  struct stat info = {};
  std::string remedy;
  if (lstat(path.c_str(), &info) != 0) return cause;
  if (S_ISLNK(info.st_mode)) {
    remedy = "it is a symbolic link: remove it, and the daemon makes its own";
  } else if (denied && info.st_uid != geteuid()) {
    remedy = absl::StrFormat(
        "it belongs to uid %d and has mode %04o, but the daemon runs as uid %d: chown %d %s",
        info.st_uid, info.st_mode & 07777, geteuid(), geteuid(), path);
  } else if (denied) {
    remedy = absl::StrFormat("it has mode %04o: chmod u+rwX %s", info.st_mode & 07777, path);
  } else {
    return cause;
  }
  return absl::Status(cause.code(), absl::StrCat(cause.message(), "; ", remedy));
}

enum class Existing { kKeepMode, kSetMode };

// Makes the directory, or takes one that is there. mkdir() applies the umask, so the mode is set
// afterwards, through a descriptor that is known to be a directory of ours. Never after a socket is
// bound in it.
absl::Status MakeDirectory(const std::string& path, mode_t mode, Existing existing) {
  const bool made = mkdir(path.c_str(), kPrivateMode) == 0;
  if (!made && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("cannot create directory %s", path));
  }
  // Those below it get their mode here, so a link must not lead to somebody else's.
  const int no_links = existing == Existing::kSetMode ? O_NOFOLLOW : 0;
  const UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | no_links));
  struct stat info = {};
  if (!directory.valid() || fstat(directory.get(), &info) != 0) {
    return OpenError("directory", path);
  }
  if (info.st_uid != geteuid()) {
    return absl::PermissionDeniedError(absl::StrFormat(
        "directory %s belongs to uid %d, but the daemon runs as uid %d: give it to the daemon's "
        "user or choose another --runtime-dir",
        path, info.st_uid, geteuid()));
  }
  if (made || existing == Existing::kSetMode) {
    if (fchmod(directory.get(), mode) == 0) return absl::OkStatus();
    return absl::ErrnoToStatus(errno, absl::StrFormat("cannot set mode %04o of %s", mode, path));
  }
  if ((info.st_mode & 0022) != 0) {
    return absl::PermissionDeniedError(
        absl::StrFormat("directory %s has mode %04o, which lets others replace the daemon's "
                        "sockets: take write access from group and others, or choose another "
                        "--runtime-dir",
                        path, info.st_mode & 07777));
  }
  return absl::OkStatus();
}

// The process that wrote itself into the lock file; empty: none.
std::string ReadOwner(int lock) {
  std::array<char, 32> text = {};
  const ssize_t length = pread(lock, text.data(), text.size() - 1, 0);
  std::string pid(text.data(), length > 0 ? static_cast<size_t>(length) : 0);
  pid.erase(pid.find_last_not_of('\n') + 1);
  return pid;
}

absl::Status WriteOwner(int lock, const std::string& path) {
  const std::string pid = absl::StrFormat("%d\n", getpid());
  const auto length = static_cast<ssize_t>(pid.size());
  // Over what is there: where a disk is full, that much room is left.
  if (pwrite(lock, pid.data(), pid.size(), 0) != length || ftruncate(lock, length) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("cannot write lock file %s", path));
  }
  return absl::OkStatus();
}

// Takes the lock or says who has it. Never waits. Nobody else can open the file, since whoever has
// it open, even for reading, could hold the lock; an earlier version's file let others do so.
absl::StatusOr<UniqueFd> TakeLock(const std::string& path) {
  UniqueFd lock(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, kPrivateFileMode));
  if (!lock.valid() || fchmod(lock.get(), kPrivateFileMode) != 0) {
    return OpenError("lock file", path);
  }
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      return absl::ErrnoToStatus(errno, absl::StrFormat("cannot lock %s", path));
    }
    const std::string owner = ReadOwner(lock.get());
    return absl::AlreadyExistsError(absl::StrFormat(
        "another nodecommd (process %s) holds %s: stop it, or choose another --runtime-dir",
        owner.empty() ? "unknown" : owner, path));
  }
  return lock;
}

// A second lock, which goes with the records rather than with a file that somebody may remove: that
// of the directory itself, which only the daemon's user can open.
absl::StatusOr<UniqueFd> TakeDirectoryLock(const std::string& path, const std::string& lock_path) {
  UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory.valid()) return OpenError("directory", path);
  // Some file systems of a network lock no directory; there is the file's lock, then.
  if (flock(directory.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return directory;
  return absl::AlreadyExistsError(absl::StrFormat(
      "another nodecommd holds %s, though somebody removed its lock file %s: stop it (fuser -v %s "
      "names its process), or choose another --runtime-dir",
      path, lock_path, path));
}

absl::Status CheckAddressLength(const std::string& path) {
  constexpr size_t kPathBytesMax = sizeof(sockaddr_un::sun_path) - 1;
  if (path.size() <= kPathBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("socket path %s has %d characters, but the kernel allows %d: choose a "
                      "shorter --runtime-dir",
                      path, path.size(), kPathBytesMax));
}

// The lock is held, so a socket at `path` has no living owner.
absl::StatusOr<UniqueFd> ListenOn(const std::string& path, int type, mode_t mode) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("cannot remove stale socket %s", path));
  }
  UniqueFd socket_fd(socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket_fd.valid()) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("cannot create socket for %s", path));
  }
  // Before anybody can connect: who did keeps what held then.
  RefuseDescriptors(socket_fd.get());
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  // bind() makes the file with the socket's own mode less the umask, so the file never exists with
  // another mode. The umask belongs to the process; the daemon binds before it has any other thread
  // that makes files.
  if (fchmod(socket_fd.get(), mode) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("cannot set mode of socket %s", path));
  }
  const mode_t umask_before = umask(0);
  const int bound =
      bind(socket_fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const int bind_error = errno;
  umask(umask_before);
  if (bound != 0) {
    return absl::ErrnoToStatus(bind_error, absl::StrFormat("cannot bind socket %s", path));
  }
  if (listen(socket_fd.get(), kListenBacklog) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("cannot listen on socket %s", path));
  }
  return socket_fd;
}

// Gives the socket at `path` a second name in `directory`. Both are one file, so that the socket
// answers at either.
absl::Status LinkInto(const std::string& directory, const std::string& path) {
  const std::string second = directory + path.substr(path.rfind('/'));
  if (unlink(second.c_str()) != 0 && errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("cannot remove stale socket %s", second));
  }
  if (link(path.c_str(), second.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("cannot link socket %s", second));
  }
  return absl::OkStatus();
}

// Whether whoever connects to `path` gets to this socket: it is bound there, listens, and the file
// is the one that it made. The kernel does not tell the file's inode of a bound socket, so a
// connection is made and looked for.
bool StandsAt(int socket_fd, const std::string& path, int type) {
  int listens = 0;
  int its_type = 0;
  socklen_t length = sizeof(int);
  sockaddr_un address = {};
  socklen_t address_length = sizeof(address);
  if (socket_fd < 0 || getsockopt(socket_fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 ||
      listens == 0 || getsockopt(socket_fd, SOL_SOCKET, SO_TYPE, &its_type, &length) != 0 ||
      its_type != type ||
      getsockname(socket_fd, reinterpret_cast<sockaddr*>(&address), &address_length) != 0 ||
      address.sun_family != AF_UNIX || path != address.sun_path) {
    return false;
  }
  // The lock is held, so nobody else listens at the path: a connection that comes about is to this
  // socket, or to one that another process keeps open though it lost the lock. The latter does not
  // happen to sockets that only a service manager keeps.
  const UniqueFd probe(socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 &&
      errno != EAGAIN) {
    return false;
  }
  RefuseDescriptors(socket_fd);  // a daemon of an earlier version may have made it
  return fcntl(socket_fd, F_SETFL, O_NONBLOCK) == 0;
}

// No file of a session or a group has more.
constexpr size_t kTrialBytes = 4096;
constexpr int kFilesOfASession = 1;  // its record
constexpr int kFilesOfAGroup = 3;    // its page, that one's second name, its record

// An errno, or 0.
int MakeTrialFile(const std::string& path) {
  static constexpr std::array<char, kTrialBytes> kPage = {};
  const UniqueFd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, kPrivateFileMode));
  if (!file.valid()) return errno;
  const ssize_t written = write(file.get(), kPage.data(), kPage.size());
  if (written < 0) return errno;
  return static_cast<size_t>(written) == kPage.size() ? 0 : ENOSPC;
}

// Likewise, the first of what went wrong. Records are replaced by rename, so removing counts.
int TryToWrite(const std::string& directory, int files) {
  int error = 0;
  for (int i = 0; i < files && error == 0; ++i) {
    error = MakeTrialFile(absl::StrCat(directory, "/.trial-", i));
  }
  for (int i = 0; i < files; ++i) {
    const int removed = unlink(absl::StrCat(directory, "/.trial-", i).c_str());
    if (removed != 0 && errno != ENOENT && error == 0) error = errno;
  }
  return error;
}

// The daemon's own want, of which the directory knows nothing.
bool IsOfTheDaemon(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM; }

std::string WriteRemedy(int error, const std::string& directory) {
  switch (error) {
    case ENOSPC:
      return "make room on its file system, which has no bytes or no files left (df -h, df -i)";
    case EDQUOT:
      return "raise the quota of the daemon's user there (quota, repquota), or make room";
    case EROFS:
      return absl::StrFormat(
          "mount it for writing (findmnt -T %s); if the kernel made it read-only, dmesg says why",
          directory);
    case EACCES:
      return absl::StrFormat(
          "chown %d %s and chmod 0700 it (ls -ld; the directories above it, too)", geteuid(),
          directory);
    case EPERM:
      return absl::StrFormat("take away what forbids it: chattr -ia %s (lsattr -d)", directory);
    case EFBIG:
      return "lift the limit on the size of files (LimitFSIZE= of the unit, ulimit -f)";
    default:
      return "the kernel's log may say more (dmesg)";
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<RuntimeDir>> RuntimeDir::Create(const Options& options) {
  ABSL_RETURN_IF_ERROR(CheckAddressLength(options.path + "/admin/admin.sock"));
  ABSL_RETURN_IF_ERROR(MakeDirectory(options.path, options.mode, Existing::kKeepMode));
  const std::string lock_path = options.path + "/nodecommd.lock";
  ABSL_ASSIGN_OR_RETURN(UniqueFd lock, TakeLock(lock_path));
  ABSL_RETURN_IF_ERROR(
      MakeDirectory(options.path + "/admin", options.admin_mode, Existing::kSetMode));
  ABSL_RETURN_IF_ERROR(MakeDirectory(options.path + "/workers", options.mode, Existing::kSetMode));
  ABSL_RETURN_IF_ERROR(MakeDirectory(options.path + "/groups", kPrivateMode, Existing::kSetMode));
  ABSL_RETURN_IF_ERROR(MakeDirectory(options.path + "/sessions", kPrivateMode, Existing::kSetMode));
  ABSL_ASSIGN_OR_RETURN(UniqueFd groups_lock,
                        TakeDirectoryLock(options.path + "/groups", lock_path));
  const Predecessor predecessor =
      ReadOwner(lock.get()).empty() ? Predecessor::kEndedInOrder : Predecessor::kKilled;
  ABSL_RETURN_IF_ERROR(WriteOwner(lock.get(), lock_path));
  std::unique_ptr<RuntimeDir> dir(
      new RuntimeDir(options.path, std::move(lock), std::move(groups_lock), predecessor));
  // The outermost first, so that what is told to be gone is what somebody removed.
  for (const std::string& path :
       {options.path, lock_path, dir->groups_path(), dir->sessions_path()}) {
    ABSL_RETURN_IF_ERROR(dir->Remember(path));
  }
  return dir;
}

RuntimeDir::RuntimeDir(std::string path, UniqueFd lock, UniqueFd groups_lock,
                       Predecessor predecessor)
    : path_(std::move(path)),
      lock_(std::move(lock)),
      groups_lock_(std::move(groups_lock)),
      predecessor_(predecessor) {}

void RuntimeDir::EndInOrder() {
  // Where that fails, the next daemon warns of workers that need no warning.
  static_cast<void>(ftruncate(lock_.get(), 0) == 0);
}

RuntimeDir::~RuntimeDir() {
  // Another daemon's are left: it may have started once somebody had removed this one's lock file.
  for (const File& file : files_) {
    if (S_ISSOCK(file.mode) && Look(file) == Found::kOwn) unlink(file.path.c_str());
  }
}

absl::Status RuntimeDir::Remember(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("cannot look at %s", path));
  }
  files_.push_back(
      {.path = path, .device = info.st_dev, .inode = info.st_ino, .mode = info.st_mode});
  return absl::OkStatus();
}

RuntimeDir::Found RuntimeDir::Look(const File& file) {
  struct stat info = {};
  if (stat(file.path.c_str(), &info) != 0) {
    // Any other error tells nothing of the file.
    return errno == ENOENT || errno == ENOTDIR ? Found::kNothing : Found::kOwn;
  }
  const bool same = info.st_dev == file.device && info.st_ino == file.inode;
  return same ? Found::kOwn : Found::kAnother;
}

std::string RuntimeDir::Lost() const {
  for (const File& file : files_) {
    switch (Look(file)) {
      case Found::kOwn:
        break;
      case Found::kNothing:
        return absl::StrFormat("%s was removed", file.path);
      case Found::kAnother:
        return absl::StrFormat("%s was replaced by another", file.path);
    }
  }
  return "";
}

std::string RuntimeDir::WhyNotWritten() const {
  struct Part {
    std::string path;
    int files;
    const char* costs;
  };
  for (const Part& part : {Part{sessions_path(), kFilesOfASession, "no worker can open a session"},
                           Part{groups_path(), kFilesOfAGroup, "no group can form"}}) {
    const int error = TryToWrite(part.path, part.files);
    if (error == 0 || IsOfTheDaemon(error)) continue;
    const absl::Status cause = absl::ErrnoToStatus(error, absl::StrCat("writing in ", part.path));
    return absl::StrFormat("%s: %s; %s", part.costs, cause.message(),
                           WriteRemedy(error, part.path));
  }
  return "";
}

absl::StatusOr<RuntimeDir::Listeners> RuntimeDir::Listen(Listeners kept) {
  const auto listen = [this](UniqueFd& socket, const std::string& path, int type, mode_t mode) {
    if (StandsAt(socket.get(), path, type)) return Remember(path);
    absl::StatusOr<UniqueFd> fresh = ListenOn(path, type, mode);
    if (!fresh.ok()) return fresh.status();
    socket = *std::move(fresh);
    return Remember(path);
  };
  // The session's last: who can open one finds all that it will call.
  ABSL_RETURN_IF_ERROR(listen(kept.admin, admin_socket_path(), SOCK_STREAM, kPrivateSocketMode));
  ABSL_RETURN_IF_ERROR(listen(kept.control, control_socket_path(), SOCK_STREAM, kSharedSocketMode));
  ABSL_RETURN_IF_ERROR(
      listen(kept.session, session_socket_path(), SOCK_SEQPACKET, kSharedSocketMode));
  for (const std::string& path : {control_socket_path(), session_socket_path()}) {
    ABSL_RETURN_IF_ERROR(LinkInto(workers_path(), path));
    ABSL_RETURN_IF_ERROR(Remember(workers_path() + path.substr(path.rfind('/'))));
  }
  return kept;
}

}  // namespace nodecomm
