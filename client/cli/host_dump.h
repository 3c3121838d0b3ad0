// A host as a file that `nodecommd --simulate` reads: the form of tests/topologies/.
// Not JSON (json.h), which has more than the host. Design note: client/cli/README.md.
#pragma once

#include <string>

#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// What the host does not know is written as unknown: a file must be complete.
std::string DumpHost(const v1::Host& host);

}  // namespace nodecomm
