// What the log says of links between GPUs that have changed since the last look at the host.
// Not the look itself, nor what follows from it for groups (daemon/topology).
#pragma once

#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// A line for each GPU that has lost peer access to others or its fabric, or has it now, and for
// each whose NVLinks have counted errors.
void LogLinkChanges(const v1::Host& before, const v1::Host& now);

}  // namespace nodecomm
