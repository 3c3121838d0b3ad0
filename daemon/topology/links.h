// What several parts ask of a GPU or a link: questions of one field, no judgement of a group's
// links (fast_path.h).
#pragma once

#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

inline bool IsNvlink(const v1::Link& link) {
  return link.kind() == v1::LINK_KIND_NVLINK || link.kind() == v1::LINK_KIND_NVSWITCH;
}

// Whether the fabric manager is not done with the GPU yet.
inline bool WaitsForFabric(const v1::Gpu& gpu) {
  return gpu.fabric_state() == v1::FABRIC_STATE_NOT_STARTED ||
         gpu.fabric_state() == v1::FABRIC_STATE_IN_PROGRESS;
}

}  // namespace nodecomm
