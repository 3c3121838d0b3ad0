// What can be seen of the host without the daemon: driver, device files, container, permissions.
// Facts only; what they mean is doctor.h's. Design note: client/cli/README.md.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/lock_holder.h"
#include "client/cli/process_facts.h"

namespace nodecomm {

struct DeviceFile {
  std::string path;
  int open_error = 0;  // errno; 0: it can be opened for reading and writing
};

// A file of the runtime directory, or a directory in it.
struct RuntimeFile {
  std::string name;  // below the runtime directory
  bool exists = false;
  uid_t uid = 0;
  mode_t mode = 0;
  bool is_socket = false;
};

// A group's control page (proto/control_page.h), as a file.
struct PageFile {
  std::string path;
  uint64_t generation = 0;  // of the group
  uint64_t bytes = 0;
};

// What the file system of the runtime directory has left for the daemon's user. 0 in all: it has no
// such bound.
struct FileSystemRoom {
  uint64_t bytes_free = 0;
  uint64_t bytes_total = 0;
  uint64_t files_free = 0;
  uint64_t files_total = 0;
  bool read_only = false;
};

struct HostFacts {
  std::string driver_version;  // of the kernel's module; empty: none is loaded
  int driver_gpus = 0;         // that the module drives
  std::vector<DeviceFile> devices;
  bool persistence_daemon = false;
  std::string kernel_release;
  bool in_container = false;
  // One of the daemon's sockets is a mount of its own rather than a file of a directory that is.
  bool socket_is_mounted = false;
  uid_t own_uid = 0;  // as whom this process asks
  std::string runtime_dir;
  int runtime_dir_error = 0;  // errno of entering it; 0: this user may
  // Owner and mode, unless even they can't be seen.
  std::optional<uid_t> runtime_dir_uid = {};
  mode_t runtime_dir_mode = 0;
  std::optional<FileSystemRoom> runtime_dir_room = {};
  RuntimeFile lock_file = {};
  // The process of the daemon that serves the directory (lock_holder.h).
  std::optional<int> lock_holder = {};
  ProcessFacts lock_holder_facts = {};
  bool lock_hidden = false;  // its lock is in a directory that does not stand there any more
  std::vector<int> other_lock_holders = {};          // daemons of this directory beside that one
  std::vector<OtherDaemon> daemons_elsewhere = {};   // that take GPUs, too
  std::vector<RuntimeFile> worker_sockets = {};      // by which workers come
  std::vector<RuntimeFile> record_directories = {};  // in which the daemon keeps what it must know
  std::vector<RuntimeFile> socket_directories = {};  // with sockets in them, below the runtime one
  std::vector<PageFile> cut_pages = {};              // control pages that have not the size of one
  bool fast_path_disabled_here = false;              // NODECOMM_DISABLE in this environment
};

struct HostFactsOptions {
  std::string runtime_dir;
  std::string root = {};  // before every path but runtime_dir; for tests
};

HostFacts ReadHostFacts(const HostFactsOptions& options);

}  // namespace nodecomm
