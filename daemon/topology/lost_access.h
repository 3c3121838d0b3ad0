// Pairs of GPUs that should have peer access and of which the driver says that they have none: the
// one answer for status, doctor and metrics. Not what it means for a group (fast_path.h). Design
// note: daemon/topology/README.md.
#pragma once

#include <vector>

#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// A pair over PCIe that was never proven may well be without peer access; any other has lost it,
// unless a GPU of it is out of service, waits for its fabric yet, or is divided (MIG), which goes
// without.
std::vector<v1::Link> FindLostAccess(const v1::Host& host, const v1::PeerProofs& proofs);

}  // namespace nodecomm
