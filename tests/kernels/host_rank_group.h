// Ranks as host threads with planes in ordinary memory.
#pragma once

#include <memory>
#include <string>

#include "tests/kernels/rank_group.h"

namespace nodecomm::kernels {

std::unique_ptr<RankGroup> MakeHostRankGroup(const GroupOptions& options, std::string* why_not);

}  // namespace nodecomm::kernels
