// The few calls of libcuda that planes need, loaded at run time.
// Not a CUDA context: none is made, so this costs a GPU 4 MiB and no compute process shows.
// Design note: daemon/memory/README.md, "the allocator".
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/memory/plane_source.h"

namespace nodecomm {

struct CudaEntryPoints;

// One thread.
class CudaDriver {
 public:
  // Loads libcuda.so.1, initialises it and finds the GPUs. Unavailable: there is none, or it does
  // not start.
  static absl::StatusOr<std::unique_ptr<CudaDriver>> Load();
  ~CudaDriver();
  CudaDriver(const CudaDriver&) = delete;
  CudaDriver& operator=(const CudaDriver&) = delete;

  // "GPU-" and 36 characters each, in CUDA's order.
  const std::vector<std::string>& gpu_uuids() const { return gpu_uuids_; }

  // Codes as in PlaneSource::Create.
  absl::StatusOr<Plane> CreatePlane(std::string_view gpu_uuid, ByteCount bytes);

 private:
  explicit CudaDriver(std::unique_ptr<const CudaEntryPoints> cuda);
  absl::Status FindGpus();

  std::unique_ptr<const CudaEntryPoints> cuda_;
  std::vector<std::string> gpu_uuids_;
};

}  // namespace nodecomm
