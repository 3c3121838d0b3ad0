#include "daemon/group/group_memory.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

absl::Status AddDuplicate(int fd, Parcel& parcel) {
  UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return absl::ErrnoToStatus(errno, "duplicating a descriptor for a member");
  parcel.push_back(std::move(copy));
  return absl::OkStatus();
}

}  // namespace

size_t CountFds(std::span<const PlaneLease> planes) {
  return static_cast<size_t>(std::count_if(
      planes.begin(), planes.end(), [](const PlaneLease& plane) { return plane.fd() >= 0; }));
}

absl::StatusOr<std::vector<PlaneLease>> AcquireEach(PlanePool& pool,
                                                    std::span<const std::string> gpu_uuids,
                                                    ByteCount bytes) {
  std::vector<PlaneLease> leases;
  leases.reserve(gpu_uuids.size());
  for (const std::string& uuid : gpu_uuids) {
    ABSL_ASSIGN_OR_RETURN(PlaneLease lease, pool.Acquire(uuid, bytes));
    leases.push_back(std::move(lease));
  }
  return leases;
}

absl::StatusOr<std::vector<Parcel>> PackForAll(size_t members, std::span<const PlaneLease> planes,
                                               const ControlPageFile* page) {
  std::vector<Parcel> parcels(members);
  for (Parcel& parcel : parcels) {
    for (const PlaneLease& plane : planes) ABSL_RETURN_IF_ERROR(AddDuplicate(plane.fd(), parcel));
    if (page != nullptr) ABSL_RETURN_IF_ERROR(AddDuplicate(page->member_fd(), parcel));
  }
  return parcels;
}

}  // namespace nodecomm
