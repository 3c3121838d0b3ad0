#include "client/communicator/options.h"

#include <cstdlib>

#include "absl/strings/str_format.h"
#include "client/base/environment.h"
#include "client/base/utf8.h"
#include "kernels/plane_layout.h"

namespace nodecomm::client {
namespace {

constexpr char kRuntimeDirDefault[] = "/run/nodecomm";

bool IsSet(const char* value) { return value != nullptr && *value != '\0'; }

}  // namespace

absl::Status Validate(const CommunicatorOptions& options) {
  if (options.name.empty() || options.name.size() > CommunicatorOptions::kNameBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("name of the group has %d bytes: give it 1 to %d", options.name.size(),
                        CommunicatorOptions::kNameBytesMax));
  }
  if (!IsUtf8(options.name)) {
    return absl::InvalidArgumentError("name of the group is not UTF-8");
  }
  if (options.world_size.value < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("world_size is %d: a group has at least 1 rank", options.world_size.value));
  }
  if (options.rank.value < 0 || options.rank.value >= options.world_size.value) {
    return absl::InvalidArgumentError(
        absl::StrFormat("rank %d is out of range: the group has ranks 0 to %d", options.rank.value,
                        options.world_size.value - 1));
  }
  if (options.device.value < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("device is %d: devices count from 0", options.device.value));
  }
  if (options.plane_bytes.value != 0 && options.plane_bytes < kernels::kPlaneBytesMin) {
    return absl::InvalidArgumentError(
        absl::StrFormat("plane_bytes is %d: give at least %d, or 0 for the daemon's default",
                        options.plane_bytes.value, kernels::kPlaneBytesMin.value));
  }
  if (options.algorithm == kernels::Algorithm::kCopy) {
    return absl::InvalidArgumentError(
        "algorithm copy cannot be chosen: it is what a group of one rank uses");
  }
  for (const absl::Duration timeout : {options.rendezvous_timeout, options.call_timeout}) {
    if (timeout >= absl::ZeroDuration() && timeout <= CommunicatorOptions::kTimeoutMax) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("rendezvous timeout is %s and call timeout is %s: give 0 to %s",
                        absl::FormatDuration(options.rendezvous_timeout),
                        absl::FormatDuration(options.call_timeout),
                        absl::FormatDuration(CommunicatorOptions::kTimeoutMax)));
  }
  if (!options.runtime_dir.starts_with('/')) {
    return absl::InvalidArgumentError(
        absl::StrFormat("runtime directory \"%s\" is no absolute path: a daemon that was restarted "
                        "is looked for there, whatever the working directory is by then",
                        options.runtime_dir));
  }
  return absl::OkStatus();
}

std::string RuntimeDir(const char* chosen) {
  if (IsSet(chosen)) return chosen;
  const char* environment = std::getenv("NODECOMM_RUNTIME_DIR");
  return IsSet(environment) ? environment : kRuntimeDirDefault;
}

bool DisabledByEnvironment() { return IsOnInEnvironment("NODECOMM_DISABLE"); }

bool CheckedByEnvironment() { return IsOnInEnvironment("NODECOMM_CHECKED"); }

}  // namespace nodecomm::client
