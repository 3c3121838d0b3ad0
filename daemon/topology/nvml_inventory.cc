// Builds the message about the host from NVML and sysfs; what either does not say stays unknown.
// Not a cache: every Read() asks anew.
// Design note: daemon/topology/README.md, "NVML".
#include "daemon/topology/nvml_inventory.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "daemon/topology/nvml_links.h"

namespace nodecomm {
namespace {

// More than any host has; bounds the loop over what NVML says.
constexpr int kGpusMax = 64;

std::string Hostname() {
  std::array<char, 256> name = {};
  // The last byte is kept: gethostname need not terminate what it cuts.
  if (gethostname(name.data(), name.size() - 1) != 0) return "";
  return name.data();
}

// sysfs writes 0000:18:00.0 where NVML writes 00000000:18:00.0, and more than four digits only
// where they are needed.
std::string SysfsName(const std::string& pci_bus_id) {
  std::string name = absl::AsciiStrToLower(pci_bus_id);
  constexpr size_t kDomainDigitsMin = 4;
  const size_t digits = std::min(name.find(':'), name.size());
  const size_t zeroes = std::min(name.find_first_not_of('0'), digits);
  if (digits > kDomainDigitsMin) name.erase(0, std::min(zeroes, digits - kDomainDigitsMin));
  return name;
}

// The first line of a sysfs attribute; nothing if there is no such file or it is empty.
std::optional<std::string> ReadAttribute(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line) || line.empty()) return std::nullopt;
  return line;
}

// NVML's nvmlDeviceGetNumaNodeId is not asked: it names the node that a GPU's own memory forms,
// where it does.
void ReadPlacement(const std::string& device_dir, v1::Gpu& gpu) {
  int node = -1;
  const std::optional<std::string> text = ReadAttribute(device_dir + "/numa_node");
  if (text.has_value() && absl::SimpleAtoi(*text, &node) && node >= 0) gpu.set_numa_node(node);
  gpu.set_cpu_affinity(ReadAttribute(device_dir + "/local_cpulist").value_or(""));
}

v1::MigMode MigModeOf(Nvml& nvml, NvmlGpu handle) {
  const absl::StatusOr<v1::MigMode> mode = nvml.Mig(handle);
  if (mode.ok()) return *mode;
  // A GPU that does not know MIG is not in MIG mode.
  return absl::IsUnimplemented(mode.status()) ? v1::MIG_MODE_DISABLED : v1::MIG_MODE_UNKNOWN;
}

// Whatever the error: an old driver has no such call, which says nothing of the GPU.
void ReadFabric(Nvml& nvml, NvmlGpu handle, v1::Gpu& gpu) {
  const NvmlFabric fabric = nvml.Fabric(handle).value_or(NvmlFabric{});
  gpu.set_fabric_state(fabric.state);
  gpu.set_fabric_cluster_uuid(fabric.cluster_uuid);
  if (fabric.clique.has_value()) gpu.set_fabric_clique(*fabric.clique);
}

v1::EccMode EccModeOf(Nvml& nvml, NvmlGpu handle) {
  const absl::StatusOr<v1::EccMode> mode = nvml.Ecc(handle);
  if (mode.ok()) return *mode;
  return absl::IsUnimplemented(mode.status()) ? v1::ECC_MODE_NOT_SUPPORTED : v1::ECC_MODE_UNKNOWN;
}

// Absent unless some port answers.
void ReadNvlinkErrors(Nvml& nvml, NvmlGpu handle, v1::Gpu& gpu) {
  for (int i = 0; i < kNvlinkPortsMax; ++i) {
    const absl::StatusOr<bool> active = nvml.NvlinkActive(handle, {i});
    if (absl::IsUnimplemented(active.status()) || absl::IsInvalidArgument(active.status())) return;
    if (!active.ok() || !*active) continue;
    const absl::StatusOr<uint64_t> errors = nvml.NvlinkErrors(handle, {i});
    if (errors.ok()) gpu.set_nvlink_errors(gpu.nvlink_errors() + *errors);
  }
}

// NVML still names a GPU that has fallen off the bus, but answers every question about it so.
void ReadCondition(Nvml& nvml, NvmlGpu handle, v1::Gpu& gpu) {
  const absl::Status memory = nvml.Memory(handle).status();
  if (!absl::IsDataLoss(memory)) return;
  gpu.set_condition(v1::GPU_CONDITION_LOST);
  gpu.set_condition_reason(std::string(memory.message()));
}

v1::Gpu ReadGpu(Nvml& nvml, NvmlGpu handle, std::string uuid, const std::string& sysfs) {
  v1::Gpu gpu;
  gpu.set_uuid(std::move(uuid));
  gpu.set_pci_bus_id(nvml.PciBusId(handle).value_or(""));
  gpu.set_name(nvml.Name(handle).value_or(""));
  const ComputeCapability capability = nvml.Capability(handle).value_or(ComputeCapability{});
  gpu.set_compute_capability_major(capability.major);
  gpu.set_compute_capability_minor(capability.minor);
  gpu.set_memory_bytes(nvml.Memory(handle).value_or(ByteCount{}).value);
  if (!gpu.pci_bus_id().empty()) {
    ReadPlacement(absl::StrCat(sysfs, "/", SysfsName(gpu.pci_bus_id())), gpu);
  }
  gpu.set_mig_mode(MigModeOf(nvml, handle));
  gpu.set_ecc_mode(EccModeOf(nvml, handle));
  ReadFabric(nvml, handle, gpu);
  ReadNvlinkErrors(nvml, handle, gpu);
  ReadCondition(nvml, handle, gpu);
  return gpu;
}

absl::StatusOr<v1::Host> ReadHost(Nvml& nvml, const std::string& sysfs) {
  ABSL_ASSIGN_OR_RETURN(const int gpu_count, nvml.GpuCount());
  if (gpu_count > kGpusMax) {
    return absl::InternalError(absl::StrFormat(
        "NVML says that this host has %d GPUs; at most %d make sense", gpu_count, kGpusMax));
  }
  v1::Host host;
  host.set_hostname(Hostname());
  host.set_driver_version(nvml.DriverVersion().value_or(""));
  host.set_cuda_driver_version(nvml.CudaDriverVersion().value_or(0));
  std::vector<NvmlGpuFacts> facts;
  for (int i = 0; i < gpu_count; ++i) {
    const absl::StatusOr<NvmlGpu> handle = nvml.Gpu(NvmlIndex{i});
    if (!handle.ok()) continue;
    // Without a UUID (a GPU that has fallen off the bus) it could not be named, let alone used.
    const absl::StatusOr<std::string> uuid = nvml.Uuid(*handle);
    if (!uuid.ok()) continue;
    v1::Gpu& gpu = *host.add_gpus();
    gpu = ReadGpu(nvml, *handle, *uuid, sysfs);
    facts.push_back({*handle, gpu.uuid(), gpu.pci_bus_id()});
  }
  for (v1::Link& link : ReadLinks(nvml, facts)) *host.add_links() = std::move(link);
  return host;
}

class NvmlInventory : public Inventory {
 public:
  NvmlInventory(std::unique_ptr<NvmlLoader> loader, std::string sysfs)
      : loader_(std::move(loader)), sysfs_(std::move(sysfs)) {}

  absl::StatusOr<v1::Host> Read() override {
    // Ended again at once: an NVML session keeps the GPUs' device files open, and no GPU could be
    // reset.
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Nvml> nvml, loader_->Open());
    return ReadHost(*nvml, sysfs_);
  }
  std::string Source() const override { return "nvml"; }

 private:
  const std::unique_ptr<NvmlLoader> loader_;
  const std::string sysfs_;
};

}  // namespace

std::unique_ptr<Inventory> MakeNvmlInventory(std::unique_ptr<NvmlLoader> loader,
                                             std::string sysfs_pci_devices) {
  return std::make_unique<NvmlInventory>(std::move(loader), std::move(sysfs_pci_devices));
}

absl::StatusOr<std::unique_ptr<Inventory>> CreateNvmlInventory() {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<NvmlLoader> loader, LoadNvml("libnvidia-ml.so.1"));
  return MakeNvmlInventory(std::move(loader), kSysfsPciDevices);
}

}  // namespace nodecomm
