// The links between the host's GPUs, concluded from what NVML says of each GPU's NVLink ports and
// each pair. Not a proof: NVML can be wrong about peer access in both directions. Design note:
// daemon/topology/README.md, "NVML".
#pragma once

#include <string>
#include <vector>

#include "daemon/topology/nvml.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

struct NvmlGpuFacts {
  NvmlGpu gpu;
  std::string uuid;
  std::string pci_bus_id;  // empty: unknown
};

// One entry an ordered pair of different GPUs, in order. What NVML does not answer is unknown.
std::vector<v1::Link> ReadLinks(Nvml& nvml, const std::vector<NvmlGpuFacts>& gpus);

}  // namespace nodecomm
