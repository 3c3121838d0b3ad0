// The commands that change something: which group is meant, and waiting for a GPU to be free.
// Not the calls themselves (admin_client.h). Design note: client/cli/README.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/admin_client.h"
#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

// The generation of the group that is named by its generation or, if only one has it, by its name.
// InvalidArgument: none or several.
absl::StatusOr<uint64_t> FindGroupNamed(const v1::ListGroupsResponse& groups,
                                        const std::string& name);

// Asks until the GPU is drained, or for `timeout`; then the last answer. Nothing: another
// administrator has taken it back meanwhile.
absl::StatusOr<std::optional<v1::DrainGpuResponse>> DrainGpu(AdminClient& client,
                                                             v1::DrainGpuRequest request,
                                                             absl::Duration timeout);

// What was asked of the groups on a GPU that is drained.
enum class DrainedGroups { kAwaited, kAborted };
std::string RenderDrain(const std::string& gpu, DrainedGroups groups,
                        const v1::DrainGpuResponse& answer);

// `topology`: what came of it; `all_proven`: whether groups get the fast path everywhere.
std::string RenderUndrain(const std::string& gpu, const std::string& gpu_uuid,
                          const v1::GetTopologyResponse& topology, bool all_proven);

}  // namespace nodecomm
