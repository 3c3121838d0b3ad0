#include "daemon/main/readiness.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "daemon/main/log_line.h"
#include "daemon/topology/links.h"

namespace nodecomm {
namespace {

// The first of those that lack planes; one that its limit keeps from more lacks none.
const v1::PoolInfo* FirstShort(const std::vector<v1::PoolInfo>& pools) {
  for (const v1::PoolInfo& pool : pools) {
    const bool has_room =
        pool.bytes_ready() + pool.bytes_in_use() + pool.plane_bytes() <= pool.bytes_max();
    if (pool.planes_ready() < pool.planes_ready_target() && has_room) return &pool;
  }
  return nullptr;
}

}  // namespace

std::string WaitsFor(const v1::Host& host, const v1::PeerCheckProgress& proofs,
                     const std::vector<v1::PoolInfo>& pools) {
  if (host.gpus().empty()) return "a GPU: the driver lists none (nvidia-smi -L)";
  if (proofs.running()) {
    return absl::StrFormat("proofs of peer access: %d of %d pairs are done", proofs.pairs_done(),
                           proofs.pairs_total());
  }
  const auto without_fabric = std::count_if(host.gpus().begin(), host.gpus().end(), WaitsForFabric);
  if (without_fabric > 0) {
    return absl::StrFormat(
        "the NVLink fabric of %d of %d GPUs (systemctl status nvidia-fabricmanager)",
        without_fabric, host.gpus_size());
  }
  if (const v1::PoolInfo* pool = FirstShort(pools); pool != nullptr) {
    return absl::StrFormat("memory of GPU %s: %d of %d planes are ready%s%s",
                           Escaped(pool->gpu_uuid()), pool->planes_ready(),
                           pool->planes_ready_target(), pool->last_error().empty() ? "" : "; ",
                           Escaped(pool->last_error()));
  }
  return "";
}

}  // namespace nodecomm
