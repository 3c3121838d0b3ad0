// What we ask of NVML, in our words: the narrow interface behind which the driver's library and a
// fake in the tests differ. Not NVML's own types, codes and structs: those are declared in nvml.cc
// alone, since build machines have no nvml.h. Design note: daemon/topology/README.md, "NVML".
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/quantities.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

// A GPU in NVML's order, which is that of the PCI bus. Valid within one NVML session.
struct NvmlGpu {
  void* handle = nullptr;
  auto operator<=>(const NvmlGpu&) const = default;
};

// The how-many-th NVLink port of a GPU.
struct NvlinkPort {
  int value = 0;
};
inline constexpr int kNvlinkPortsMax = 18;

// The how-many-th GPU of the host.
struct NvmlIndex {
  int value = 0;
};

enum class PeerCapability { kRead, kWrite, kNvlink, kAtomics, kPci };

struct PeerAnswer {
  v1::PeerAccess access = v1::PEER_ACCESS_UNKNOWN;
  std::string word;  // NVML's name for it, as in NVML_P2P_STATUS_OK
};

enum class NvlinkRemote { kGpu, kSwitch, kOther };

struct ComputeCapability {
  int major = 0;
  int minor = 0;
};

// The GPU's place in the NVLink fabric.
struct NvmlFabric {
  v1::FabricState state = v1::FABRIC_STATE_UNKNOWN;
  // Of a fabric that is complete; empty and absent where there is none.
  std::string cluster_uuid;
  std::optional<uint32_t> clique;
};

// One NVML session, from initialisation to shutdown; while it lives, the process holds the GPUs'
// device files open. Every call can fail by itself: Unimplemented means that the GPU or this driver
// does not have such a thing, DataLoss that the GPU is
// lost, any other code that the answer is not known. Messages carry NVML's
// own text. Not thread-safe.
class Nvml {
 public:
  virtual ~Nvml() = default;

  virtual absl::StatusOr<std::string> DriverVersion() = 0;
  virtual absl::StatusOr<int> CudaDriverVersion() = 0;  // 13000 is 13.0
  virtual absl::StatusOr<int> GpuCount() = 0;
  virtual absl::StatusOr<NvmlGpu> Gpu(NvmlIndex index) = 0;

  virtual absl::StatusOr<std::string> Uuid(NvmlGpu gpu) = 0;
  virtual absl::StatusOr<std::string> Name(NvmlGpu gpu) = 0;
  virtual absl::StatusOr<std::string> PciBusId(NvmlGpu gpu) = 0;
  virtual absl::StatusOr<ComputeCapability> Capability(NvmlGpu gpu) = 0;
  virtual absl::StatusOr<ByteCount> Memory(NvmlGpu gpu) = 0;
  virtual absl::StatusOr<v1::MigMode> Mig(NvmlGpu gpu) = 0;
  virtual absl::StatusOr<v1::EccMode> Ecc(NvmlGpu gpu) = 0;
  virtual absl::StatusOr<NvmlFabric> Fabric(NvmlGpu gpu) = 0;

  virtual absl::StatusOr<bool> NvlinkActive(NvmlGpu gpu, NvlinkPort port) = 0;
  virtual absl::StatusOr<NvlinkRemote> NvlinkRemoteType(NvmlGpu gpu, NvlinkPort port) = 0;
  virtual absl::StatusOr<std::string> NvlinkRemotePciBusId(NvmlGpu gpu, NvlinkPort port) = 0;
  // Of all kinds that the port counts, since the driver loaded.
  virtual absl::StatusOr<uint64_t> NvlinkErrors(NvmlGpu gpu, NvlinkPort port) = 0;

  virtual absl::StatusOr<PeerAnswer> Peer(NvmlGpu from, NvmlGpu to, PeerCapability capability) = 0;
  virtual absl::StatusOr<v1::PciDistance> CommonAncestor(NvmlGpu a, NvmlGpu b) = 0;
};

// Makes NVML sessions. Thread-safe.
class NvmlLoader {
 public:
  virtual ~NvmlLoader() = default;

  // Unavailable: the driver does not answer (the message has NVML's text).
  virtual absl::StatusOr<std::unique_ptr<Nvml>> Open() = 0;
};

// A critical error that the driver reported of a GPU ("Xid").
struct XidReport {
  std::string gpu_uuid;
  int code = 0;
};

// Waits for the driver's reports, from its making on. While it lives, the process holds the GPUs'
// device files open. One thread.
class XidWatch {
 public:
  virtual ~XidWatch() = default;

  // Nothing within `timeout`: an empty answer. Unavailable: NVML cannot wait any more.
  virtual absl::StatusOr<std::optional<XidReport>> Wait(absl::Duration timeout) = 0;
};

// Of all GPUs that can report; those that cannot (MIG, virtual GPUs) are left out. NotFound as for
// LoadNvml; Unimplemented: no GPU of this host can.
absl::StatusOr<std::unique_ptr<XidWatch>> WatchXids(const std::string& library);

// Loads `library` ("libnvidia-ml.so.1"), without initialising it. NotFound: there is no such
// library, or it is no NVML.
absl::StatusOr<std::unique_ptr<NvmlLoader>> LoadNvml(const std::string& library);

}  // namespace nodecomm
