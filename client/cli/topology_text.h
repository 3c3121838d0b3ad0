// The host's topology as people read it: a matrix in the manner of `nvidia-smi topo -m`, and what
// that leaves out. Not the JSON form: json.h. Design note: client/cli/README.md.
#pragma once

#include <string>

#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

std::string RenderTopology(const v1::GetTopologyResponse& topology);

}  // namespace nodecomm
