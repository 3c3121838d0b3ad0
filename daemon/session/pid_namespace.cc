#include "daemon/session/pid_namespace.h"

#include <sys/stat.h>

namespace nodecomm {
namespace {

// PROC_PID_INIT_INO of the kernel (include/linux/proc_ns.h), the same since namespaces have inodes.
constexpr ino_t kHostInode = 0xeffffffc;

}  // namespace

bool IsPidNamespaceOfTheHost(ino_t inode) { return inode == kHostInode; }

bool SeesProcessesOfTheHost() {
  struct stat info = {};
  return stat("/proc/self/ns/pid", &info) != 0 || IsPidNamespaceOfTheHost(info.st_ino);
}

}  // namespace nodecomm
