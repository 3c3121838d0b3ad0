// What still holds a GPU that an administrator takes out of service. Questions only: who takes it
// out is GpuControl (daemon_view.h). Design note: daemon/README.md, "drain".
#pragma once

#include <string>
#include <vector>

#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

// Groups that hold memory of the GPU, each with the processes that have not let go of it, be they
// on that GPU or another, and why one does not; for people.
std::vector<std::string> GroupsOn(const std::vector<v1::GroupInfo>& groups,
                                  const std::string& gpu_uuid);

// The pool has no memory of the GPU, be it ready or handed out.
bool HoldsNothing(const std::vector<v1::PoolInfo>& pools, const std::string& gpu_uuid);

}  // namespace nodecomm
