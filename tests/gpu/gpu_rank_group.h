// Ranks on GPUs of this host, in one process: planes in plain device memory, peers reached by peer
// access. Needs neither daemon nor client; ranks beyond the number of GPUs share them.
#pragma once

#include <memory>
#include <string>

#include "tests/kernels/rank_group.h"

namespace nodecomm::kernels {

// Calls with an odd index are captured in a graph and replayed; the others are made eagerly.
std::unique_ptr<RankGroup> MakeGpuRankGroup(const GroupOptions& options, std::string* why_not);

}  // namespace nodecomm::kernels
