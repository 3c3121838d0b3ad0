// What differs between a GPU and a simulated host, for one communicator: how memory is mapped, and
// how kernels run on it. Not the protocol (kernels/), not the group: a device knows neither daemon
// nor peers. Two implementations: cuda_device.h, host_device.h. Design note: client/README.md,
// "mapping".
#pragma once

#include <array>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/base/quantities.h"
#include "client/base/unique_fd.h"
#include "client/mapping/mapping.h"
#include "kernels/all_reduce.h"
#include "kernels/plane_layout.h"
#include "proto/control_page.h"

namespace nodecomm {

// What the ranks of a group tell each other about their GPUs.
struct DeviceFacts {
  std::string gpu_uuid;
  std::string pci_bus_id;  // as CUDA writes it; empty on a simulated host
  int multiprocessors = 1;
  int compute_capability_major = 0;
  int compute_capability_minor = 0;
};

// One page, as the host and as this device's kernels see it. It belongs to the device.
struct ControlPageView {
  const ControlPage* on_host = nullptr;
  const ControlPage* on_device = nullptr;
};

// Likewise for the record that kernels write.
struct FailureView {
  const kernels::FailureRecord* on_host = nullptr;
  kernels::FailureRecord* on_device = nullptr;
};

using PlaneHeaderCopy = std::array<std::byte, kernels::kPlaneHeaderBytes>;

// Calls on one device must not overlap, except that AllReduce or Copy, one at a time, may run
// beside the others. No call changes the calling thread's current GPU.
class Device {
 public:
  virtual ~Device() = default;

  virtual const DeviceFacts& facts() const = 0;
  virtual FailureView failure() = 0;

  // Maps memory that the daemon handed out, for reading and writing by this device. The fd is
  // closed; the mapping keeps the memory.
  virtual absl::StatusOr<Mapping> MapPlane(UniqueFd fd, ByteCount bytes) = 0;

  // Internal: some of it is not zero; the message says where. For memory that nobody writes
  // meanwhile. Bounded.
  virtual absl::Status CheckZero(const Mapping& plane) = 0;

  // Maps it for reading only: the daemon alone writes it. Once a device.
  virtual absl::StatusOr<ControlPageView> MapControlPage(UniqueFd fd) = 0;

  // Loads all that AllReduce may launch, and says between which planes it does. Once a device.
  // After it AllReduce loads and allocates nothing.
  virtual absl::Status Bind(const kernels::Binding& binding) = 0;

  // After Bind. `stream` is a cudaStream_t of this device; ignored on a simulated host, where calls
  // return when done.
  virtual absl::Status AllReduce(const kernels::Message& message, void* stream) = 0;

  // out = in, for a group of one.
  virtual absl::Status Copy(const kernels::Message& message, void* stream) = 0;

  // Waits for all work of this device. Bounded by the kernels' own time limit, as far as ours go.
  // FailedPrecondition: a graph is being captured on it, and nothing was waited for.
  virtual absl::Status Synchronize() = 0;

  virtual absl::StatusOr<PlaneHeaderCopy> CopyPlaneHeader(const Mapping& plane) = 0;
};

}  // namespace nodecomm
