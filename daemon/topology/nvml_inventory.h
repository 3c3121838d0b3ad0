// The host as NVML and sysfs describe it.
// Not the links' rules: those are in nvml_links.h.
// Design note: daemon/topology/README.md, "NVML".
#pragma once

#include <memory>
#include <string>

#include "daemon/topology/inventory.h"
#include "daemon/topology/nvml.h"

namespace nodecomm {

inline constexpr char kSysfsPciDevices[] = "/sys/bus/pci/devices";

// What CreateNvmlInventory() makes, for tests with another NVML and another sysfs. Every Read()
// opens an NVML session and ends it.
std::unique_ptr<Inventory> MakeNvmlInventory(std::unique_ptr<NvmlLoader> loader,
                                             std::string sysfs_pci_devices);

}  // namespace nodecomm
