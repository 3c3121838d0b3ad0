// Fuzzes the daemon's configuration file. What is accepted must be within the bounds that the
// daemon counts on.

#include "daemon/config/config.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<nodecomm::Config> config = nodecomm::ParseConfig("config", text);
  if (!config.ok()) {
    nodecomm::Require(!config.status().message().empty(), "an error says what is wrong");
    return 0;
  }
  nodecomm::Require(config->pool.plane_bytes.value % (2 << 20) == 0, "planes in pieces of 2 MiB");
  nodecomm::Require(config->pool.plane_bytes.value > 0, "planes of some size");
  nodecomm::Require(config->limits.sessions_max > 0, "room for a session");
  nodecomm::Require(config->limits.calls_per_uid_per_second > 0, "room for a call");
  nodecomm::Require(config->group.drain_timeout >= absl::ZeroDuration(), "time goes forward");
  nodecomm::Require((config->runtime_dir_mode & 0022) == 0, "nobody else writes to the directory");
  return 0;
}
