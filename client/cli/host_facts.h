// What can be seen of the host without the daemon: driver, device files, container, permissions.
// Facts only; what they mean is doctor.h's. Design note: client/cli/README.md.
#pragma once

#include <string>
#include <vector>

namespace nodecomm {

struct DeviceFile {
  std::string path;
  int open_error = 0;  // errno; 0: it can be opened for reading and writing
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
  std::string runtime_dir;
  bool runtime_dir_exists = false;
  bool runtime_dir_writable_by_others = false;
  bool session_socket_exists = false;
  bool session_socket_for_everybody = false;
  // Of the sockets that workers come by: their names below runtime_dir.
  std::vector<std::string> missing_sockets = {};
  bool fast_path_disabled_here = false;  // NODECOMM_DISABLE in this environment
  int fds_max = 0;                       // of this process
};

struct HostFactsOptions {
  std::string runtime_dir;
  std::string root = {};  // before every path but runtime_dir; for tests
};

HostFacts ReadHostFacts(const HostFactsOptions& options);

}  // namespace nodecomm
