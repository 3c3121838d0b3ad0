// The driver's NVML behind our interface: loaded at run time, its few entry points declared here.
// Not what the answers mean for groups: that is nvml_inventory.cc.
// Design note: daemon/topology/README.md, "NVML".
#include "daemon/topology/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"

namespace nodecomm {
namespace {

// --- NVML's ABI, as far as we use it. Structs and values are stable: NVML adds a suffix (_v2) when
// one changes. ---

using NvmlReturn = int;
using NvmlHandle = void*;
constexpr NvmlReturn kSuccess = 0;
constexpr NvmlReturn kInvalidArgument = 2;
constexpr NvmlReturn kNotSupported = 3;
constexpr NvmlReturn kTimeout = 10;
constexpr NvmlReturn kFunctionNotFound = 13;
constexpr NvmlReturn kGpuIsLost = 15;
constexpr NvmlReturn kResetRequired = 16;

// nvmlPciInfo_t.
struct PciInfo {
  char bus_id_legacy[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
};
static_assert(sizeof(PciInfo) == 68);

// nvmlMemory_t.
struct MemoryInfo {
  unsigned long long total, free, used;
};

// nvmlGpuFabricInfo_v2_t.
struct FabricInfo {
  unsigned version;
  unsigned char cluster_uuid[16];
  NvmlReturn status;
  unsigned clique_id;
  unsigned char state;
  unsigned health_mask;
};
static_assert(sizeof(FabricInfo) == 36);
// nvmlNvLinkErrorCounter_t: replay, recovery, CRC of flits, CRC of data.
constexpr unsigned kNvlinkErrorCounters = 4;
constexpr unsigned kFabricInfoVersion = sizeof(FabricInfo) | (2U << 24U);

// nvmlEventData_t.
struct EventData {
  NvmlHandle device;
  unsigned long long type;
  unsigned long long data;  // an Xid's code
  unsigned gpu_instance, compute_instance;
};
static_assert(sizeof(EventData) == 32);
constexpr unsigned long long kEventXid = 8;  // nvmlEventTypeXidCriticalError
using EventSet = void*;

// The entry points; null where this driver does not have one.
struct EntryPoints {
  NvmlReturn (*init)() = nullptr;
  NvmlReturn (*shutdown)() = nullptr;
  const char* (*error_string)(NvmlReturn) = nullptr;
  NvmlReturn (*driver_version)(char*, unsigned) = nullptr;
  NvmlReturn (*cuda_driver_version)(int*) = nullptr;
  NvmlReturn (*device_count)(unsigned*) = nullptr;
  NvmlReturn (*device_by_index)(unsigned, NvmlHandle*) = nullptr;
  NvmlReturn (*uuid)(NvmlHandle, char*, unsigned) = nullptr;
  NvmlReturn (*name)(NvmlHandle, char*, unsigned) = nullptr;
  NvmlReturn (*pci_info)(NvmlHandle, PciInfo*) = nullptr;
  NvmlReturn (*compute_capability)(NvmlHandle, int*, int*) = nullptr;
  NvmlReturn (*memory_info)(NvmlHandle, MemoryInfo*) = nullptr;
  NvmlReturn (*mig_mode)(NvmlHandle, unsigned*, unsigned*) = nullptr;
  NvmlReturn (*ecc_mode)(NvmlHandle, unsigned*, unsigned*) = nullptr;
  NvmlReturn (*fabric_info)(NvmlHandle, FabricInfo*) = nullptr;
  NvmlReturn (*nvlink_errors)(NvmlHandle, unsigned, unsigned, unsigned long long*) = nullptr;
  NvmlReturn (*nvlink_state)(NvmlHandle, unsigned, unsigned*) = nullptr;
  NvmlReturn (*nvlink_remote_type)(NvmlHandle, unsigned, unsigned*) = nullptr;
  NvmlReturn (*nvlink_remote_pci)(NvmlHandle, unsigned, PciInfo*) = nullptr;
  NvmlReturn (*p2p_status)(NvmlHandle, NvmlHandle, unsigned, unsigned*) = nullptr;
  NvmlReturn (*common_ancestor)(NvmlHandle, NvmlHandle, unsigned*) = nullptr;
  NvmlReturn (*event_set_create)(EventSet*) = nullptr;
  NvmlReturn (*event_set_free)(EventSet) = nullptr;
  NvmlReturn (*register_events)(NvmlHandle, unsigned long long, EventSet) = nullptr;
  NvmlReturn (*event_set_wait)(EventSet, EventData*, unsigned) = nullptr;
};

EntryPoints FindEntryPoints(void* library) {
  EntryPoints entry;
  const auto find = [library](const char* symbol, auto& function) {
    function =
        reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, symbol));
  };
  find("nvmlInit_v2", entry.init);
  find("nvmlShutdown", entry.shutdown);
  find("nvmlErrorString", entry.error_string);
  find("nvmlSystemGetDriverVersion", entry.driver_version);
  find("nvmlSystemGetCudaDriverVersion_v2", entry.cuda_driver_version);
  find("nvmlDeviceGetCount_v2", entry.device_count);
  find("nvmlDeviceGetHandleByIndex_v2", entry.device_by_index);
  find("nvmlDeviceGetUUID", entry.uuid);
  find("nvmlDeviceGetName", entry.name);
  find("nvmlDeviceGetPciInfo_v3", entry.pci_info);
  find("nvmlDeviceGetCudaComputeCapability", entry.compute_capability);
  find("nvmlDeviceGetMemoryInfo", entry.memory_info);
  find("nvmlDeviceGetMigMode", entry.mig_mode);
  find("nvmlDeviceGetEccMode", entry.ecc_mode);
  find("nvmlDeviceGetGpuFabricInfoV", entry.fabric_info);
  find("nvmlDeviceGetNvLinkErrorCounter", entry.nvlink_errors);
  find("nvmlDeviceGetNvLinkState", entry.nvlink_state);
  find("nvmlDeviceGetNvLinkRemoteDeviceType", entry.nvlink_remote_type);
  find("nvmlDeviceGetNvLinkRemotePciInfo_v2", entry.nvlink_remote_pci);
  find("nvmlDeviceGetP2PStatus", entry.p2p_status);
  find("nvmlDeviceGetTopologyCommonAncestor", entry.common_ancestor);
  find("nvmlEventSetCreate", entry.event_set_create);
  find("nvmlEventSetFree", entry.event_set_free);
  find("nvmlDeviceRegisterEvents", entry.register_events);
  find("nvmlEventSetWait_v2", entry.event_set_wait);
  return entry;
}

unsigned P2pIndex(PeerCapability capability) {
  switch (capability) {
    case PeerCapability::kRead:
      return 0;
    case PeerCapability::kWrite:
      return 1;
    case PeerCapability::kNvlink:
      return 2;
    case PeerCapability::kAtomics:
      return 3;
    case PeerCapability::kPci:
      return 4;
  }
  return 0;
}

PeerAnswer ToPeerAnswer(unsigned status) {
  // nvmlGpuP2PStatus_t, in order.
  constexpr std::array<const char*, 7> kWords = {
      "NVML_P2P_STATUS_OK",
      "NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED",
      "NVML_P2P_STATUS_GPU_NOT_SUPPORTED",
      "NVML_P2P_STATUS_IOH_TOPOLOGY_NOT_SUPPORTED",
      "NVML_P2P_STATUS_DISABLED_BY_REGKEY",
      "NVML_P2P_STATUS_NOT_SUPPORTED",
      "NVML_P2P_STATUS_UNKNOWN",
  };
  if (status == 0) return {v1::PEER_ACCESS_SUPPORTED, kWords[0]};
  if (status < 6) return {v1::PEER_ACCESS_NOT_SUPPORTED, kWords[status]};
  if (status == 6) return {v1::PEER_ACCESS_UNKNOWN, kWords[6]};
  return {v1::PEER_ACCESS_UNKNOWN, absl::StrCat("NVML P2P status ", status)};
}

v1::FabricState ToFabricState(const FabricInfo& info) {
  switch (info.state) {
    case 0:
      return v1::FABRIC_STATE_NOT_SUPPORTED;
    case 1:
      return v1::FABRIC_STATE_NOT_STARTED;
    case 2:
      return v1::FABRIC_STATE_IN_PROGRESS;
    case 3:
      // Completed with an error is no state that anything can rely on.
      return info.status == kSuccess ? v1::FABRIC_STATE_COMPLETED : v1::FABRIC_STATE_UNKNOWN;
    default:
      return v1::FABRIC_STATE_UNKNOWN;
  }
}

// As NVML writes UUIDs: 8-4-4-4-12 hexadecimal digits.
std::string ToUuidText(const unsigned char (&bytes)[16]) {
  std::string text;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    absl::StrAppendFormat(&text, "%02x", bytes[i]);
  }
  return text;
}

NvmlFabric ToFabric(const FabricInfo& info) {
  NvmlFabric fabric;
  fabric.state = ToFabricState(info);
  const bool in_a_cluster = std::any_of(std::begin(info.cluster_uuid), std::end(info.cluster_uuid),
                                        [](unsigned char byte) { return byte != 0; });
  // A fabric that ends at this host has neither.
  if (fabric.state == v1::FABRIC_STATE_COMPLETED && in_a_cluster) {
    fabric.cluster_uuid = ToUuidText(info.cluster_uuid);
    fabric.clique = info.clique_id;
  }
  return fabric;
}

v1::PciDistance ToPciDistance(unsigned level) {
  switch (level) {
    case 0:  // two GPUs on one board: the switch is the board's own
    case 10:
      return v1::PCI_DISTANCE_PIX;
    case 20:
      return v1::PCI_DISTANCE_PXB;
    case 30:
      return v1::PCI_DISTANCE_PHB;
    case 40:
      return v1::PCI_DISTANCE_NODE;
    case 50:
      return v1::PCI_DISTANCE_SYS;
    default:
      return v1::PCI_DISTANCE_UNKNOWN;
  }
}

// A buffer that NVML filled with text; zero-terminated, whatever NVML did.
template <size_t n>
std::string Text(const char (&buffer)[n]) {
  return std::string(std::string_view(buffer, n).substr(0, std::string_view(buffer, n).find('\0')));
}

class LibraryNvml : public Nvml {
 public:
  explicit LibraryNvml(const EntryPoints& entry) : entry_(entry) {}
  ~LibraryNvml() override { entry_.shutdown(); }
  LibraryNvml(const LibraryNvml&) = delete;
  LibraryNvml& operator=(const LibraryNvml&) = delete;

  absl::StatusOr<std::string> DriverVersion() override {
    char text[80] = {};
    ABSL_RETURN_IF_ERROR(
        Call("nvmlSystemGetDriverVersion", entry_.driver_version, text, sizeof(text)));
    return Text(text);
  }
  absl::StatusOr<int> CudaDriverVersion() override {
    int version = 0;
    ABSL_RETURN_IF_ERROR(
        Call("nvmlSystemGetCudaDriverVersion", entry_.cuda_driver_version, &version));
    return version;
  }
  absl::StatusOr<int> GpuCount() override {
    unsigned count = 0;
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetCount", entry_.device_count, &count));
    return static_cast<int>(count);
  }
  absl::StatusOr<NvmlGpu> Gpu(NvmlIndex index) override {
    NvmlGpu gpu;
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetHandleByIndex", entry_.device_by_index,
                              static_cast<unsigned>(index.value), &gpu.handle));
    return gpu;
  }

  absl::StatusOr<std::string> Uuid(NvmlGpu gpu) override {
    char text[96] = {};
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetUUID", entry_.uuid, gpu.handle, text, sizeof(text)));
    return Text(text);
  }
  absl::StatusOr<std::string> Name(NvmlGpu gpu) override {
    char text[96] = {};
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetName", entry_.name, gpu.handle, text, sizeof(text)));
    return Text(text);
  }
  absl::StatusOr<std::string> PciBusId(NvmlGpu gpu) override {
    PciInfo info = {};
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetPciInfo", entry_.pci_info, gpu.handle, &info));
    return Text(info.bus_id);
  }
  absl::StatusOr<ComputeCapability> Capability(NvmlGpu gpu) override {
    ComputeCapability capability;
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetCudaComputeCapability", entry_.compute_capability,
                              gpu.handle, &capability.major, &capability.minor));
    return capability;
  }
  absl::StatusOr<ByteCount> Memory(NvmlGpu gpu) override {
    MemoryInfo info = {};
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetMemoryInfo", entry_.memory_info, gpu.handle, &info));
    return ByteCount{info.total};
  }
  absl::StatusOr<v1::MigMode> Mig(NvmlGpu gpu) override {
    unsigned current = 0;
    unsigned pending = 0;
    ABSL_RETURN_IF_ERROR(
        Call("nvmlDeviceGetMigMode", entry_.mig_mode, gpu.handle, &current, &pending));
    return current == 0 ? v1::MIG_MODE_DISABLED : v1::MIG_MODE_ENABLED;
  }
  absl::StatusOr<v1::EccMode> Ecc(NvmlGpu gpu) override {
    unsigned current = 0;
    unsigned pending = 0;
    ABSL_RETURN_IF_ERROR(
        Call("nvmlDeviceGetEccMode", entry_.ecc_mode, gpu.handle, &current, &pending));
    return current == 0 ? v1::ECC_MODE_DISABLED : v1::ECC_MODE_ENABLED;
  }
  absl::StatusOr<NvmlFabric> Fabric(NvmlGpu gpu) override {
    FabricInfo info = {};
    info.version = kFabricInfoVersion;
    ABSL_RETURN_IF_ERROR(
        Call("nvmlDeviceGetGpuFabricInfoV", entry_.fabric_info, gpu.handle, &info));
    return ToFabric(info);
  }

  absl::StatusOr<bool> NvlinkActive(NvmlGpu gpu, NvlinkPort port) override {
    unsigned active = 0;
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetNvLinkState", entry_.nvlink_state, gpu.handle,
                              static_cast<unsigned>(port.value), &active));
    return active != 0;
  }
  absl::StatusOr<NvlinkRemote> NvlinkRemoteType(NvmlGpu gpu, NvlinkPort port) override {
    unsigned type = 0;
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetNvLinkRemoteDeviceType", entry_.nvlink_remote_type,
                              gpu.handle, static_cast<unsigned>(port.value), &type));
    if (type == 0) return NvlinkRemote::kGpu;
    if (type == 2) return NvlinkRemote::kSwitch;
    return NvlinkRemote::kOther;
  }
  absl::StatusOr<std::string> NvlinkRemotePciBusId(NvmlGpu gpu, NvlinkPort port) override {
    PciInfo info = {};
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetNvLinkRemotePciInfo", entry_.nvlink_remote_pci,
                              gpu.handle, static_cast<unsigned>(port.value), &info));
    return Text(info.bus_id);
  }

  absl::StatusOr<uint64_t> NvlinkErrors(NvmlGpu gpu, NvlinkPort port) override {
    uint64_t sum = 0;
    absl::Status failed;
    int answers = 0;
    for (unsigned counter = 0; counter < kNvlinkErrorCounters; ++counter) {
      unsigned long long value = 0;
      const absl::Status asked =
          Call("nvmlDeviceGetNvLinkErrorCounter", entry_.nvlink_errors, gpu.handle,
               static_cast<unsigned>(port.value), counter, &value);
      if (asked.ok()) {
        sum += value;
        ++answers;
      } else {
        failed = asked;
      }
    }
    if (answers == 0) return failed;
    return sum;
  }

  absl::StatusOr<PeerAnswer> Peer(NvmlGpu from, NvmlGpu to, PeerCapability capability) override {
    unsigned status = 0;
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetP2PStatus", entry_.p2p_status, from.handle, to.handle,
                              P2pIndex(capability), &status));
    return ToPeerAnswer(status);
  }
  absl::StatusOr<v1::PciDistance> CommonAncestor(NvmlGpu a, NvmlGpu b) override {
    unsigned level = 0;
    ABSL_RETURN_IF_ERROR(Call("nvmlDeviceGetTopologyCommonAncestor", entry_.common_ancestor,
                              a.handle, b.handle, &level));
    return ToPciDistance(level);
  }

 private:
  // The one place that maps NVML's codes.
  template <typename Function, typename... Args>
  absl::Status Call(const char* name, Function function, Args... args) {
    if (function == nullptr) {
      return absl::UnimplementedError(absl::StrCat(name, ": this driver does not have it"));
    }
    const NvmlReturn code = function(args...);
    if (code == kSuccess) return absl::OkStatus();
    const std::string message = absl::StrCat(name, ": ", entry_.error_string(code));
    switch (code) {
      case kNotSupported:
      case kFunctionNotFound:
        return absl::UnimplementedError(message);
      case kInvalidArgument:
        return absl::InvalidArgumentError(message);
      case kGpuIsLost:
      case kResetRequired:
        return absl::DataLossError(message);
      default:
        return absl::UnavailableError(message);
    }
  }

  const EntryPoints entry_;
};

// Begins an NVML session, which LibraryNvml ends.
absl::Status Initialise(const EntryPoints& entry) {
  const NvmlReturn code = entry.init();
  if (code == kSuccess) return absl::OkStatus();
  return absl::UnavailableError(absl::StrFormat(
      "nvmlInit: %s. Check the NVIDIA driver with nvidia-smi.", entry.error_string(code)));
}

class LibraryXidWatch final : public XidWatch {
 public:
  explicit LibraryXidWatch(const EntryPoints& entry) : entry_(entry), nvml_(entry) {}
  ~LibraryXidWatch() override {
    if (set_ != nullptr) entry_.event_set_free(set_);
  }

  absl::Status Register() {
    if (entry_.event_set_create == nullptr || entry_.event_set_free == nullptr ||
        entry_.register_events == nullptr || entry_.event_set_wait == nullptr) {
      return absl::UnimplementedError("this driver has no events");
    }
    if (const NvmlReturn code = entry_.event_set_create(&set_); code != kSuccess) {
      set_ = nullptr;
      return Error("nvmlEventSetCreate", code);
    }
    ABSL_ASSIGN_OR_RETURN(const int count, nvml_.GpuCount());
    for (int i = 0; i < count; ++i) {
      const absl::StatusOr<NvmlGpu> gpu = nvml_.Gpu({i});
      if (!gpu.ok()) continue;
      absl::StatusOr<std::string> uuid = nvml_.Uuid(*gpu);
      if (uuid.ok() && entry_.register_events(gpu->handle, kEventXid, set_) == kSuccess) {
        uuid_of_.emplace_back(gpu->handle, *std::move(uuid));
      }
    }
    if (uuid_of_.empty()) return absl::UnimplementedError("no GPU here reports its errors");
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<XidReport>> Wait(absl::Duration timeout) override {
    EventData event = {};
    const auto timeout_ms = static_cast<unsigned>(absl::ToInt64Milliseconds(timeout));
    const NvmlReturn code = entry_.event_set_wait(set_, &event, timeout_ms);
    if (code == kTimeout) return std::nullopt;
    if (code != kSuccess) return Error("nvmlEventSetWait", code);
    if (event.type != kEventXid) return std::nullopt;
    // As it was: a GPU that has fallen off the bus may not say it any more.
    for (const auto& [device, uuid] : uuid_of_) {
      if (device == event.device) {
        return XidReport{.gpu_uuid = uuid, .code = static_cast<int>(event.data)};
      }
    }
    // NVML does not promise the handle that was registered.
    ABSL_ASSIGN_OR_RETURN(std::string uuid, nvml_.Uuid({event.device}));
    return XidReport{.gpu_uuid = std::move(uuid), .code = static_cast<int>(event.data)};
  }

 private:
  absl::Status Error(const char* name, NvmlReturn code) const {
    return absl::UnavailableError(absl::StrCat(name, ": ", entry_.error_string(code)));
  }

  const EntryPoints entry_;
  LibraryNvml nvml_;  // its session
  EventSet set_ = nullptr;
  std::vector<std::pair<NvmlHandle, std::string>> uuid_of_;  // those that are registered
};

// Never unloaded: NVML is not made to be.
class LibraryLoader : public NvmlLoader {
 public:
  explicit LibraryLoader(const EntryPoints& entry) : entry_(entry) {}

  absl::StatusOr<std::unique_ptr<Nvml>> Open() override {
    ABSL_RETURN_IF_ERROR(Initialise(entry_));
    return std::make_unique<LibraryNvml>(entry_);
  }

 private:
  const EntryPoints entry_;
};

absl::StatusOr<EntryPoints> LoadEntryPoints(const std::string& library) {
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return absl::NotFoundError(absl::StrFormat(
        "%s: is the NVIDIA driver installed? (a host can be simulated: --simulate FILE)",
        dlerror()));
  }
  const EntryPoints entry = FindEntryPoints(handle);
  if (entry.init == nullptr || entry.shutdown == nullptr || entry.error_string == nullptr) {
    return absl::NotFoundError(absl::StrFormat("%s is no NVML: nvmlInit_v2 is missing", library));
  }
  return entry;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NvmlLoader>> LoadNvml(const std::string& library) {
  ABSL_ASSIGN_OR_RETURN(const EntryPoints entry, LoadEntryPoints(library));
  return std::make_unique<LibraryLoader>(entry);
}

absl::StatusOr<std::unique_ptr<XidWatch>> WatchXids(const std::string& library) {
  ABSL_ASSIGN_OR_RETURN(const EntryPoints entry, LoadEntryPoints(library));
  ABSL_RETURN_IF_ERROR(Initialise(entry));
  auto watch = std::make_unique<LibraryXidWatch>(entry);
  ABSL_RETURN_IF_ERROR(watch->Register());
  return watch;
}

}  // namespace nodecomm
