// What measuring needs of a device: memory, copies, a stream, graphs and a clock. One
// implementation with CUDA, one on the host for simulated groups. Not how libnodecomm uses a
// device: this program is a user of the public API, like any other. Design note:
// client/perf/README.md.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/base/quantities.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

// Freed on destruction; must not outlive its device.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  virtual std::byte* data() const = 0;
};

// Calls captured from the device's stream; must not outlive it.
class DeviceGraph {
 public:
  virtual ~DeviceGraph() = default;
  // Enqueues all of them on the device's stream.
  virtual absl::Status Launch() = 0;
};

// Everything happens in the order of the calls, on one stream. One thread.
class Device {
 public:
  virtual ~Device() = default;

  virtual std::string Name() const = 0;
  // To be handed to nodecomm_all_reduce.
  virtual void* stream() const = 0;

  virtual absl::StatusOr<std::unique_ptr<DeviceMemory>> Allocate(ByteCount size) = 0;
  // Return when the copy is complete.
  virtual absl::Status Upload(std::byte* to, const std::byte* from, ByteCount size) = 0;
  virtual absl::Status Download(std::byte* to, const std::byte* from, ByteCount size) = 0;
  virtual absl::Status Synchronize() = 0;

  // Captures what `enqueue` puts on the stream. FailedPrecondition where there are no graphs.
  virtual absl::StatusOr<std::unique_ptr<DeviceGraph>> Capture(
      absl::FunctionRef<absl::Status()> enqueue) = 0;
  // Microseconds from the beginning to the end of what `enqueue` puts on the stream.
  virtual absl::StatusOr<double> TimeUs(absl::FunctionRef<absl::Status()> enqueue) = 0;
};

// For groups on a simulated host: memory of the host, calls that return when they are done.
std::unique_ptr<Device> CreateHostDevice();

// Unimplemented in a build without CUDA.
absl::StatusOr<std::unique_ptr<Device>> CreateCudaDevice(DeviceIndex index);

// GPUs that this process sees; 0 without CUDA or driver. Not to be called before a fork.
int CudaDeviceCount();

struct CudaVersions {
  std::string driver;
  std::string runtime;
};
CudaVersions ReadCudaVersions();

}  // namespace nodecomm::perf
