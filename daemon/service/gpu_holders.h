// What still holds a GPU that an administrator takes out of service. Questions only: who takes it
// out is GpuControl (daemon_view.h). Design note: daemon/README.md, "drain".
#pragma once

#include <string>
#include <vector>

#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

// Groups that hold memory of the GPU and have a member there that has not left; for people.
std::vector<std::string> GroupsOn(const std::vector<v1::GroupInfo>& groups,
                                  const std::string& gpu_uuid);

// The pool has no memory of the GPU, be it ready or handed out.
bool HoldsNothing(const std::vector<v1::PoolInfo>& pools, const std::string& gpu_uuid);

}  // namespace nodecomm
