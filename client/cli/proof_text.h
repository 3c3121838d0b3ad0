// The proofs of peer access as people read them. Not the JSON form: json.h.
// Design note: client/cli/README.md.
#pragma once

#include <string>

#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

// A line an ordered pair, tried or not.
std::string RenderProofs(const v1::GetTopologyResponse& topology);

// Two matrices of what was measured, GB/s and microseconds; empty if nothing was.
std::string RenderMeasurements(const v1::GetTopologyResponse& topology);

// Every fact about one pair of the host's GPUs, both ways, and whether a group of the two would get
// the fast path. Indices into the host's list.
std::string RenderPair(const v1::GetTopologyResponse& topology, int a, int b,
                       const v1::FastPath& fast_path);

}  // namespace nodecomm
