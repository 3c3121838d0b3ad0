// What a daemon that serves workers still waits for before it calls itself ready: GPUs, the fabric,
// proofs, pools. Not the waiting, nor who is told (service_manager.h).
#pragma once

#include <string>
#include <vector>

#include "nodecomm/v1/admin.pb.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// For people, the first thing that is missing, and what to look at; empty: it is ready.
std::string WaitsFor(const v1::Host& host, const v1::PeerCheckProgress& proofs,
                     const std::vector<v1::PoolInfo>& pools);

}  // namespace nodecomm
