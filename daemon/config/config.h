// The daemon's settings: read from a file of protobuf text (proto/nodecomm/v1/config.proto),
// checked, defaults applied. Not the command line (daemon/main), nor what a running daemon takes of
// a changed file (reload.h). Design note: daemon/README.md, "configuration".
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/quantities.h"

namespace nodecomm {

enum class LogLevel { kTrace, kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// The defaults are those that config.proto states.
struct Config {
  struct Pool {
    ByteCount plane_bytes = 36_MiB;
    int planes_ready = 2;
    ByteCount bytes_per_gpu_max = 4096_MiB;
    ByteCount bytes_per_gpu_per_uid_max = 2048_MiB;
  };
  struct Group {
    absl::Duration rendezvous_timeout = absl::Seconds(60);
    bool allow_gpu_sharing = false;
    bool allow_pci = false;
    bool disable_fast_path = false;
    absl::Duration drain_timeout = absl::Seconds(30);
  };
  struct PeerAccess {
    bool trust_driver = false;
    bool allow_unproven = false;
    std::optional<ByteCount> proof_bytes;  // not set: 64 MiB, or 2 MiB on a simulated host
    absl::Duration proof_timeout = absl::Seconds(10);
  };
  struct Limits {
    int sessions_max = 1024;
    int sessions_per_uid_max = 256;
    int control_connections_per_uid_max = 256;
    int groups_max = 256;
    int groups_per_uid_max = 64;
    int connections_per_uid_per_second = 100;
    int calls_per_uid_per_second = 1000;
  };

  struct Metrics {
    int port = 0;          // 0: none
    std::string textfile;  // empty: none
    absl::Duration textfile_interval = absl::Seconds(15);
  };

  std::string runtime_dir = "/run/nodecomm";
  mode_t runtime_dir_mode = 0755;
  mode_t admin_dir_mode = 0700;
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
  Pool pool;
  Group group;
  Limits limits;
  PeerAccess peer_access;
  Metrics metrics;
  // By GPU UUID: who may use it. A GPU that is not there is for everybody.
  std::map<std::string, std::set<uid_t>, std::less<>> gpu_users;
};

// `text` is what `file` holds; the name is for messages only.
// InvalidArgument: one line for each problem, "file:line:column: field NAME: what is wrong". The
// text's grammar is checked first, and ends at its first error.
absl::StatusOr<Config> ParseConfig(std::string_view file, std::string_view text);

// NotFound and the like if the file can't be read, InvalidArgument as above.
absl::StatusOr<Config> LoadConfig(const std::string& path);

// "trace", "debug", "info", "warning" or "error".
absl::StatusOr<LogLevel> ParseLogLevel(std::string_view name);

}  // namespace nodecomm
