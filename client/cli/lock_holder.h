// Who holds the lock of a runtime directory: the daemon that serves it, with or without its
// sockets. Looks and never takes it: a daemon that starts at that moment would find it taken, and
// end. Design note: client/cli/README.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace nodecomm {

inline constexpr char kLockName[] = "nodecommd.lock";

struct LockHolder {
  // Where the file is that the process took its lock on.
  enum class Lock {
    kInPlace,
    kRemoved,
    kHidden,  // in a directory that was moved away, or that something is mounted over
  };
  int pid = 0;
  Lock lock = Lock::kInPlace;
};

// Whoever has started as the daemon of this directory and holds its lock still: several, if
// somebody removed the file, or the directory, under one. Who holds the file that stands there
// comes first. Without the right to look at processes (root) only that one is found, and not even
// that one if the kernel hides it (PID namespaces), or tells its file system by another device
// number (btrfs).
std::vector<LockHolder> FindLockHolders(const std::string& runtime_dir);

struct OtherDaemon {
  int pid = 0;
  std::string runtime_dir;  // as that daemon sees it, which may be in a container
};

// Daemons of other directories that take GPUs, as far as this user may see.
std::vector<OtherDaemon> FindDaemonsElsewhere(const std::string& runtime_dir);

// The first of FindLockHolders.
std::optional<int> FindLockHolder(const std::string& runtime_dir);

}  // namespace nodecomm
