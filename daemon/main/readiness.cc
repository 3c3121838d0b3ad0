#include "daemon/main/readiness.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/open_files.h"
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

bool IsLost(const v1::Gpu& gpu) { return gpu.condition() == v1::GPU_CONDITION_LOST; }

// The GPUs that are lost, with what befell them; empty: none is.
std::string LostGpus(const v1::Host& host) {
  std::string lost;
  for (const v1::Gpu& gpu : host.gpus()) {
    if (!IsLost(gpu)) continue;
    absl::StrAppend(&lost, lost.empty() ? "" : "; ", "GPU ", Escaped(gpu.uuid()),
                    " is lost: ", Escaped(gpu.condition_reason()));
  }
  return lost;
}

constexpr char kAskFabricManager[] = " (systemctl status nvidia-fabricmanager)";

// What is not there of it; empty: none is missing.
std::string MissingFabric(const v1::Host& host) {
  const auto without = std::count_if(host.gpus().begin(), host.gpus().end(), WaitsForFabric);
  if (without == 0) return "";
  return absl::StrFormat("the NVLink fabric of %d of %d GPUs", without, host.gpus_size());
}

}  // namespace

std::string WaitsFor(const v1::Host& host, const ProofsToCome& proofs,
                     const std::vector<v1::PoolInfo>& pools) {
  if (host.gpus().empty()) return "a GPU: the driver lists none (nvidia-smi -L)";
  // Before what goes on: these are tried again and again.
  if (proofs.lacks_thread) {
    return "a thread to prove peer access of pairs of GPUs, which have no fast path meanwhile; it "
           "is "
           "tried again (raise TasksMax= of the unit, or pids.max of the container)";
  }
  if (proofs.pairs_lacking > 0) {
    return absl::StrFormat(
        "file descriptors, memory or time to prove peer access of %d pairs of GPUs, which have no "
        "fast path meanwhile; it is tried again (nodecommctl p2p show, and the log, say what is "
        "short)",
        proofs.pairs_lacking);
  }
  if (proofs.progress.running()) {
    return absl::StrFormat("proofs of peer access: %d of %d pairs are done",
                           proofs.progress.pairs_done(), proofs.progress.pairs_total());
  }
  if (const std::string fabric = MissingFabric(host); !fabric.empty()) {
    return absl::StrCat(fabric, kAskFabricManager);
  }
  if (const v1::PoolInfo* pool = FirstShort(pools); pool != nullptr) {
    return absl::StrFormat("memory of GPU %s: %d of %d planes are ready%s%s",
                           Escaped(pool->gpu_uuid()), pool->planes_ready(),
                           pool->planes_ready_target(), pool->last_error().empty() ? "" : "; ",
                           Escaped(pool->last_error()));
  }
  return "";
}

std::string Lacks(const v1::Host& host) {
  std::string lacks = LostGpus(host);
  if (const std::string fabric = MissingFabric(host); !fabric.empty()) {
    absl::StrAppend(&lacks, lacks.empty() ? "" : "; ", fabric, " is down", kAskFabricManager);
  }
  return lacks;
}

std::string LacksFds(int open_fds, int open_fds_max) {
  if (open_fds + kOpenFilesOfAWorker <= open_fds_max) return "";
  return absl::StrFormat(
      "fewer than %d of %d file descriptors are left, so that workers are refused: raise "
      "LimitNOFILE",
      kOpenFilesOfAWorker, open_fds_max);
}

bool HasUsableGpu(const v1::Host& host) {
  return std::any_of(host.gpus().begin(), host.gpus().end(),
                     [](const v1::Gpu& gpu) { return !IsLost(gpu) && !WaitsForFabric(gpu); });
}

}  // namespace nodecomm
