#include "client/cli/changes.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"
#include "client/cli/text_table.h"

namespace nodecomm {
namespace {

constexpr absl::Duration kDrainPollInterval = absl::Milliseconds(100);

}  // namespace

absl::StatusOr<uint64_t> FindGroupNamed(const v1::ListGroupsResponse& groups,
                                        const std::string& name) {
  uint64_t number = 0;
  const bool is_number = absl::SimpleAtoi(name, &number);
  std::vector<uint64_t> found;
  for (const v1::GroupInfo& group : groups.groups()) {
    if (is_number && group.generation() == number) return number;
    if (group.name() == name) found.push_back(group.generation());
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no group is named ", name, "; see `groups`"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("several groups are named ", name,
                   "; name one by its generation: ", absl::StrJoin(found, ", ")));
}

absl::StatusOr<std::optional<v1::DrainGpuResponse>> DrainGpu(AdminClient& client,
                                                             v1::DrainGpuRequest request,
                                                             absl::Duration timeout) {
  const SteadyTime deadline = SteadyNow() + timeout;
  while (true) {
    const absl::StatusOr<v1::DrainGpuResponse> asked = client.DrainGpu(request);
    if (request.begun() && absl::IsFailedPrecondition(asked.status())) return std::nullopt;
    ABSL_ASSIGN_OR_RETURN(const v1::DrainGpuResponse answer, asked);
    if (answer.drained() || SteadyNow() >= deadline) return answer;
    request.set_begun(true);
    absl::SleepFor(kDrainPollInterval);
  }
}

std::string RenderDrain(const std::string& gpu, const v1::DrainGpuResponse& answer) {
  if (answer.drained()) {
    return absl::StrCat("GPU ", gpu, " is drained: no process of nodecommd holds it.\n",
                        answer.note().empty() ? "" : RenderForeign(answer.note()) + "\n");
  }
  if (answer.groups().empty()) {
    return absl::StrCat("GPU ", gpu, " is draining: its memory is being released.\n");
  }
  std::string groups;
  for (const std::string& group : answer.groups()) {
    absl::StrAppend(&groups, "  ", RenderForeign(group), "\n");
  }
  return absl::StrCat("GPU ", gpu,
                      " is draining; these groups are still on it (--abort ends them):\n", groups);
}

std::string RenderUndrain(const std::string& gpu, const std::string& gpu_uuid,
                          const v1::GetTopologyResponse& topology, bool all_proven) {
  for (const v1::Gpu& found : topology.host().gpus()) {
    if (found.uuid() != gpu_uuid) continue;
    if (found.condition() == v1::GPU_CONDITION_LOST) {
      return absl::StrCat("GPU ", gpu, " is drained no more, but it is lost: ",
                          RenderForeign(found.condition_reason()), "\n");
    }
    if (found.condition() == v1::GPU_CONDITION_DRAINING) {
      return absl::StrCat("GPU ", gpu, " was drained again meanwhile.\n");
    }
  }
  std::string back = absl::StrCat("GPU ", gpu, " is back in service.\n");
  if (all_proven) return back;
  return absl::StrCat(back, "Not all pairs of GPUs are proven: see nodecommctl p2p show.\n");
}

}  // namespace nodecomm
