// An NVML whose host the test describes; every answer can be replaced by an error.
// Not a mock: it has no expectations, it answers from its description.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "daemon/topology/nvml.h"

namespace nodecomm {

struct FakePort {
  absl::StatusOr<bool> active = true;
  absl::StatusOr<uint64_t> errors = absl::UnimplementedError("no counters");
  absl::StatusOr<NvlinkRemote> remote = NvlinkRemote::kSwitch;
  absl::StatusOr<std::string> remote_pci_bus_id = std::string("FFFFFFFF:FF:FF.0");
};

struct FakeGpu {
  absl::Status lost;  // of the handle
  absl::StatusOr<std::string> uuid;
  absl::StatusOr<std::string> pci_bus_id;
  absl::StatusOr<std::string> name = std::string("NVIDIA Fake");
  absl::StatusOr<ComputeCapability> capability = ComputeCapability{9, 0};
  absl::StatusOr<ByteCount> memory = ByteCount{80ULL << 30};
  absl::StatusOr<v1::MigMode> mig = v1::MIG_MODE_DISABLED;
  absl::StatusOr<v1::EccMode> ecc = v1::ECC_MODE_ENABLED;
  absl::StatusOr<NvmlFabric> fabric = NvmlFabric{.state = v1::FABRIC_STATE_COMPLETED};
  std::vector<FakePort> ports;  // empty: the GPU has no NVLink
};

struct FakeNvmlHost {
  absl::Status driver;  // of opening a session
  absl::StatusOr<std::string> driver_version = std::string("580.0");
  absl::StatusOr<int> cuda_driver_version = 13000;
  std::vector<FakeGpu> gpus;
  std::function<absl::StatusOr<PeerAnswer>(size_t from, size_t to, PeerCapability)> peer;
  absl::StatusOr<v1::PciDistance> distance = v1::PCI_DISTANCE_PHB;
  int sessions_open = 0;
};

class FakeNvml : public Nvml {
 public:
  explicit FakeNvml(FakeNvmlHost* host) : host_(host) { ++host_->sessions_open; }
  ~FakeNvml() override { --host_->sessions_open; }

  absl::StatusOr<std::string> DriverVersion() override { return host_->driver_version; }
  absl::StatusOr<int> CudaDriverVersion() override { return host_->cuda_driver_version; }
  absl::StatusOr<int> GpuCount() override { return static_cast<int>(host_->gpus.size()); }
  absl::StatusOr<NvmlGpu> Gpu(NvmlIndex index) override {
    FakeGpu& gpu = host_->gpus[static_cast<size_t>(index.value)];
    if (!gpu.lost.ok()) return gpu.lost;
    return NvmlGpu{&gpu};
  }

  absl::StatusOr<std::string> Uuid(NvmlGpu gpu) override { return Of(gpu).uuid; }
  absl::StatusOr<std::string> Name(NvmlGpu gpu) override { return Of(gpu).name; }
  absl::StatusOr<std::string> PciBusId(NvmlGpu gpu) override { return Of(gpu).pci_bus_id; }
  absl::StatusOr<ComputeCapability> Capability(NvmlGpu gpu) override { return Of(gpu).capability; }
  absl::StatusOr<ByteCount> Memory(NvmlGpu gpu) override { return Of(gpu).memory; }
  absl::StatusOr<v1::MigMode> Mig(NvmlGpu gpu) override { return Of(gpu).mig; }
  absl::StatusOr<v1::EccMode> Ecc(NvmlGpu gpu) override { return Of(gpu).ecc; }
  absl::StatusOr<NvmlFabric> Fabric(NvmlGpu gpu) override { return Of(gpu).fabric; }

  absl::StatusOr<bool> NvlinkActive(NvmlGpu gpu, NvlinkPort port) override {
    const std::vector<FakePort>& ports = Of(gpu).ports;
    if (ports.empty()) return absl::UnimplementedError("no NVLink");
    const auto index = static_cast<size_t>(port.value);
    if (index >= ports.size()) return absl::InvalidArgumentError("no such port");
    return ports[index].active;
  }
  absl::StatusOr<NvlinkRemote> NvlinkRemoteType(NvmlGpu gpu, NvlinkPort port) override {
    return Of(gpu).ports[static_cast<size_t>(port.value)].remote;
  }
  absl::StatusOr<std::string> NvlinkRemotePciBusId(NvmlGpu gpu, NvlinkPort port) override {
    return Of(gpu).ports[static_cast<size_t>(port.value)].remote_pci_bus_id;
  }

  absl::StatusOr<uint64_t> NvlinkErrors(NvmlGpu gpu, NvlinkPort port) override {
    return Of(gpu).ports[static_cast<size_t>(port.value)].errors;
  }

  absl::StatusOr<PeerAnswer> Peer(NvmlGpu from, NvmlGpu to, PeerCapability capability) override {
    return host_->peer(IndexOf(from), IndexOf(to), capability);
  }
  absl::StatusOr<v1::PciDistance> CommonAncestor(NvmlGpu, NvmlGpu) override {
    return host_->distance;
  }

 private:
  static FakeGpu& Of(NvmlGpu gpu) { return *static_cast<FakeGpu*>(gpu.handle); }
  size_t IndexOf(NvmlGpu gpu) const { return static_cast<size_t>(&Of(gpu) - host_->gpus.data()); }

  FakeNvmlHost* const host_;  // outlives this
};

class FakeNvmlLoader : public NvmlLoader {
 public:
  explicit FakeNvmlLoader(FakeNvmlHost* host) : host_(host) {}

  absl::StatusOr<std::unique_ptr<Nvml>> Open() override {
    if (!host_->driver.ok()) return host_->driver;
    return std::make_unique<FakeNvml>(host_);
  }

 private:
  FakeNvmlHost* const host_;  // outlives this
};

inline PeerAnswer PeerYes() { return {v1::PEER_ACCESS_SUPPORTED, "NVML_P2P_STATUS_OK"}; }
inline PeerAnswer PeerNo() {
  return {v1::PEER_ACCESS_NOT_SUPPORTED, "NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED"};
}

// "GPU-00000000-0000-0000-0000-00000000000N".
inline std::string FakeUuid(size_t index) {
  std::string uuid = "GPU-00000000-0000-0000-0000-000000000000";
  uuid.back() = static_cast<char>('0' + index);
  return uuid;
}

inline std::string FakePciBusId(size_t index) {
  std::string id = "00000000:1A:00.0";
  id[9] = static_cast<char>('0' + index);
  return id;
}

// GPUs without NVLink, every pair with peer access over PCIe.
inline FakeNvmlHost FakePciHost(size_t gpu_count) {
  FakeNvmlHost host;
  for (size_t i = 0; i < gpu_count; ++i) {
    FakeGpu gpu;
    gpu.uuid = FakeUuid(i);
    gpu.pci_bus_id = FakePciBusId(i);
    gpu.fabric = NvmlFabric{.state = v1::FABRIC_STATE_NOT_SUPPORTED};
    host.gpus.push_back(std::move(gpu));
  }
  host.peer = [](size_t, size_t, PeerCapability capability) {
    return capability == PeerCapability::kNvlink ? PeerNo() : PeerYes();
  };
  return host;
}

// As measured in a virtual machine with four H100: every port leads to a switch, the far ends' PCI
// ids are hidden, READ is an error.
inline FakeNvmlHost FakeNvswitchVirtualMachine() {
  FakeNvmlHost host = FakePciHost(4);
  for (FakeGpu& gpu : host.gpus) {
    gpu.ports.resize(18);
    gpu.fabric = NvmlFabric{.state = v1::FABRIC_STATE_COMPLETED};
  }
  host.peer = [](size_t, size_t, PeerCapability capability) -> absl::StatusOr<PeerAnswer> {
    if (capability == PeerCapability::kRead) return absl::UnavailableError("Unknown Error");
    return PeerYes();
  };
  return host;
}

}  // namespace nodecomm
