#include "daemon/session/peer.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/base/status_macros.h"
#include "daemon/files/small_file.h"

namespace nodecomm {
namespace {

constexpr size_t kStatBytesMax = 4096;
constexpr size_t kStatusBytesMax = 16384;
constexpr uint32_t kFlagExiting = 0x4;
constexpr uint32_t kFlagDumpsCore = 0x200;
constexpr int kSoPeerPidfd = 77;  // SO_PEERPIDFD of Linux 6.5; older C libraries do not name it

absl::Status PidfdError(int error, pid_t pid) {
  if (error == ESRCH) {
    return absl::UnavailableError(absl::StrFormat("process %d has ended already", pid));
  }
  return absl::ErrnoToStatus(error, absl::StrFormat("pidfd of process %d", pid));
}

// A field of /proc/pid/stat by its number in proc(5), from 3 on.
absl::StatusOr<std::string> ReadStatField(pid_t pid, size_t number) {
  ABSL_ASSIGN_OR_RETURN(const std::string stat,
                        ReadSmallFile(absl::StrFormat("/proc/%d/stat", pid), kStatBytesMax));
  // The second field, in brackets, is the program's name and may hold anything.
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return absl::NotFoundError("no fields");
  const std::vector<std::string> fields = absl::StrSplit(stat.substr(name_end + 1), ' ');
  const size_t index = number - 2;  // the name was the second; an empty one comes before
  if (fields.size() <= index) return absl::NotFoundError("fewer fields");
  return fields[index];
}

// Of the whole process or of its first thread.
bool IsBeingKilled(pid_t pid) {
  const absl::StatusOr<std::string> status =
      ReadSmallFile(absl::StrFormat("/proc/%d/status", pid), kStatusBytesMax);
  if (!status.ok()) return true;
  for (const absl::string_view line : absl::StrSplit(*status, '\n')) {
    const std::pair<absl::string_view, absl::string_view> field = absl::StrSplit(line, ":\t");
    uint64_t signals = 0;
    if ((field.first == "SigPnd" || field.first == "ShdPnd") &&
        absl::SimpleHexAtoi(field.second, &signals) && (signals >> (SIGKILL - 1) & 1u) != 0) {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<PeerCredentials> ReadPeerCredentials(int socket) {
  ucred credentials = {};
  socklen_t length = sizeof(credentials);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return absl::ErrnoToStatus(errno, "getsockopt(SO_PEERCRED)");
  }
  return PeerCredentials{.pid = credentials.pid, .uid = credentials.uid};
}

absl::StatusOr<UniqueFd> OpenPeerPidfd(int socket, pid_t pid) {
  int fd = -1;
  socklen_t length = sizeof(fd);
  if (getsockopt(socket, SOL_SOCKET, kSoPeerPidfd, &fd, &length) == 0) return UniqueFd(fd);
  if (errno != ENOPROTOOPT) return PidfdError(errno, pid);
  // On an older kernel the pid may have passed to another process between connect() and here. Then
  // that process's end would end the session; the socket's hang-up ends it at the latest when the
  // worker is gone.
  return OpenPidfd(pid);
}

absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return PidfdError(errno, pid);
  return UniqueFd(fd);
}

absl::StatusOr<uint64_t> ReadProcessStart(pid_t pid) {
  const absl::StatusOr<std::string> text = ReadStatField(pid, 22);
  if (absl::IsResourceExhausted(text.status())) return text.status();
  uint64_t start = 0;
  if (!text.ok() || !absl::SimpleAtoi(*text, &start)) return 0;
  return start;
}

bool LivesOn(pid_t pid) {
  const absl::StatusOr<std::string> text = ReadStatField(pid, 9);
  uint32_t flags = 0;
  return text.ok() && absl::SimpleAtoi(*text, &flags) &&
         (flags & (kFlagExiting | kFlagDumpsCore)) == 0 && !IsBeingKilled(pid);
}

v1::ProcessState ReadProcessState(pid_t pid) {
  const absl::StatusOr<std::string> text = ReadStatField(pid, 3);
  if (!text.ok() || text->size() != 1) return v1::PROCESS_STATE_UNSPECIFIED;
  switch (text->front()) {
    case 'T':
      return v1::PROCESS_STATE_STOPPED;
    case 't':
      return v1::PROCESS_STATE_TRACED;
    case 'D':
      return v1::PROCESS_STATE_UNINTERRUPTIBLE;
    case 'Z':
    case 'X':
      return v1::PROCESS_STATE_ENDED;
    default:  // running, sleeping, idle, and what later kernels may tell apart
      return v1::PROCESS_STATE_GOES_ON;
  }
}

}  // namespace nodecomm
