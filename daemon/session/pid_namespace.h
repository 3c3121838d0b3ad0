// Whether the daemon sees the processes of the host: in a PID namespace of its own the kernel shows
// it those outside as process 0. Design note: deploy/container/README.md, "without hostPID".
#pragma once

#include <sys/types.h>

namespace nodecomm {

// False where it is known that this process is in another PID namespace than the host's.
bool SeesProcessesOfTheHost();

// Whether an inode of /proc/pid/ns/pid is that of the host's namespace.
bool IsPidNamespaceOfTheHost(ino_t inode);

}  // namespace nodecomm
