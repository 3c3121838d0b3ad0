#include "daemon/memory/memfd_plane_source.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace nodecomm {
namespace {

// The largest size that still fits a file offset after rounding up.
constexpr size_t kBytesMax = std::numeric_limits<off_t>::max() - kPlaneGranularity.value;

absl::StatusOr<Plane> CreateMemfd(std::string_view gpu_uuid, ByteCount bytes) {
  UniqueFd fd(memfd_create("nodecomm-plane", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("memfd_create for a plane on %s", gpu_uuid));
  }
  if (ftruncate(fd.get(), static_cast<off_t>(bytes.value)) != 0) {
    return absl::ErrnoToStatus(
        errno, absl::StrFormat("giving a plane on %s %u bytes", gpu_uuid, bytes.value));
  }
  // Without the seals a worker could shrink the file, and its peers would die of SIGBUS.
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrFormat("sealing a plane on %s", gpu_uuid));
  }
  return Plane{std::move(fd), bytes};
}

}  // namespace

MemfdPlaneSource::MemfdPlaneSource(const v1::Host& host) {
  for (const v1::Gpu& gpu : host.gpus()) {
    memory_by_uuid_[gpu.uuid()] = ByteCount{static_cast<size_t>(gpu.memory_bytes())};
  }
}

absl::StatusOr<Plane> MemfdPlaneSource::Create(std::string_view gpu_uuid, ByteCount bytes) {
  const auto gpu = memory_by_uuid_.find(gpu_uuid);
  if (gpu == memory_by_uuid_.end()) {
    return absl::NotFoundError(absl::StrFormat(
        "the simulated host has no GPU %s; its topology file lists them", gpu_uuid));
  }
  if (bytes.value == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a plane of 0 bytes was asked for on %s", gpu_uuid));
  }
  const ByteCount limit = gpu->second.value == 0 ? ByteCount{kBytesMax} : gpu->second;
  if (bytes > limit) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("a plane of %u bytes does not fit on %s, which has %u bytes; ask for less",
                        bytes.value, gpu_uuid, limit.value));
  }
  const size_t granules = (bytes.value + kPlaneGranularity.value - 1) / kPlaneGranularity.value;
  return CreateMemfd(gpu_uuid, ByteCount{granules * kPlaneGranularity.value});
}

}  // namespace nodecomm
