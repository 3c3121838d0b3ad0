// Where planes come from: the narrow interface behind which GPU memory and simulated memory differ.
// Not the pool: a source keeps nothing; who holds the fd owns the memory.
// Two implementations, held to the same tests: MemfdPlaneSource (simulated host),
// AllocatorPlaneSource (GPU).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/base/quantities.h"
#include "client/base/unique_fd.h"

namespace nodecomm {

// Zeroed memory of one GPU, held by its file descriptor alone: it is freed when every fd and every
// mapping of it is gone.
struct Plane {
  UniqueFd fd;
  ByteCount bytes;
};

class PlaneSource {
 public:
  virtual ~PlaneSource() = default;

  // A fresh, zeroed plane of at least `bytes` (rounded up to the granularity) on the GPU with this
  // UUID. Thread-safe; bounded in time. ResourceExhausted: the GPU has no memory left; NotFound: no
  // such GPU; Unavailable: the allocator died or did not answer (it is restarted at the next call);
  // Internal: the driver failed.
  virtual absl::StatusOr<Plane> Create(std::string_view gpu_uuid, ByteCount bytes) = 0;

  // From now on only these GPUs are served, or all again (not set); once this returns, nobody holds
  // the others' device files open. A source that holds no device open need not do anything.
  virtual void ServeOnly(const std::optional<std::vector<std::string>>& /*gpu_uuids*/) {}
};

}  // namespace nodecomm
