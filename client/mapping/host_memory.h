// Maps the daemon's files into this process, checked against their true size first.
// Not GPU memory. Used by both devices: planes of a simulated host, and control pages on every
// host. Design note: client/README.md, "mapping".
#pragma once

#include "absl/status/statusor.h"
#include "client/base/unique_fd.h"
#include "client/mapping/mapping.h"

namespace nodecomm {

// Internal: the daemon's file is shorter than `bytes` (touching the rest would be a SIGBUS).
absl::StatusOr<Mapping> MapFileReadWrite(const UniqueFd& fd, ByteCount bytes);
absl::StatusOr<Mapping> MapFileReadOnly(const UniqueFd& fd, ByteCount bytes);

}  // namespace nodecomm
