// Who holds the lock of a runtime directory: the daemon that serves it, with or without its
// sockets. Looks and never takes it: a daemon that starts at that moment would find it taken, and
// end. Design note: client/cli/README.md.
#pragma once

#include <optional>
#include <string>

namespace nodecomm {

inline constexpr char kLockName[] = "nodecommd.lock";

// The holder's process id, also if somebody removed the file and who asks may look at the process.
// Nothing: nobody, or nobody who can be seen: the kernel hides locks of other PID namespaces, and
// on some file systems (btrfs) tells them by another device number.
std::optional<int> FindLockHolder(const std::string& runtime_dir);

}  // namespace nodecomm
