// What a group holds of the host, and the copies of it that go to the members.
// Not who gets it, nor when.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/group/control_page_file.h"
#include "daemon/group/group_record.h"
#include "daemon/memory/plane_pool.h"

namespace nodecomm {

struct GroupMemory {
  std::vector<PlaneLease> planes;  // in rank order
  std::unique_ptr<ControlPageFile> page;
  std::unique_ptr<GroupRecordFile> record;
};

// The daemon's descriptors that they take: none, if an earlier daemon handed them out.
size_t CountFds(std::span<const PlaneLease> planes);

// The fds of one transfer.
using Parcel = std::vector<UniqueFd>;

// One lease on each GPU, in order; none if one fails. May take as long as making that many planes
// does.
absl::StatusOr<std::vector<PlaneLease>> AcquireEach(PlanePool& pool,
                                                    std::span<const std::string> gpu_uuids,
                                                    ByteCount bytes);

// A parcel for each member, with duplicates of all planes in rank order, then of the page if there
// is one. ResourceExhausted: the daemon has no descriptors left.
absl::StatusOr<std::vector<Parcel>> PackForAll(size_t members, std::span<const PlaneLease> planes,
                                               const ControlPageFile* page);

}  // namespace nodecomm
