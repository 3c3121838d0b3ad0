// Stands in for cuda_pair.cc where there is no CUDA Toolkit.
#include "daemon/probe/gpu_pair.h"

namespace nodecomm::probe {

absl::StatusOr<std::unique_ptr<GpuPair>> CreateCudaPair(PairOptions /*options*/) {
  return absl::UnimplementedError(
      "nodecomm-probe was built without CUDA; install one that was built with it");
}

}  // namespace nodecomm::probe
