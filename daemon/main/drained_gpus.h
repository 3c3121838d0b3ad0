// Which GPUs an administrator has taken out of service, kept in a file: a daemon that comes back
// must not take them by itself. Not what that means (gpu_service.h).
#pragma once

#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace nodecomm {

// Empty: there is no file. InvalidArgument: no such file was ever written.
absl::StatusOr<std::set<std::string>> ReadDrainedGpus(const std::string& path);
absl::Status WriteDrainedGpus(const std::string& path, const std::set<std::string>& gpu_uuids);

}  // namespace nodecomm
