// Planes of a simulated host: zeroed host memory behind a memfd.
// Not a model of a GPU's memory: it keeps no account (the pool does) and only refuses what could
// never fit. Design note: daemon/memory/README.md.
#pragma once

#include <map>
#include <string>

#include "daemon/memory/plane_source.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// Planes are rounded up to this, as on GPUs.
inline constexpr ByteCount kPlaneGranularity = 2_MiB;

class MemfdPlaneSource final : public PlaneSource {
 public:
  // Serves the GPUs of `host`, as often as memory allows.
  explicit MemfdPlaneSource(const v1::Host& host);

  absl::StatusOr<Plane> Create(std::string_view gpu_uuid, ByteCount bytes) override;

 private:
  // GPU UUID to memory size; 0: unknown, so not limited.
  std::map<std::string, ByteCount, std::less<>> memory_by_uuid_;
};

}  // namespace nodecomm
