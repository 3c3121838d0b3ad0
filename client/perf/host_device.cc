// The device of a simulated host. Not a model of a GPU: copies are memcpy, and time is the host's.
// See device.h.
// Design note: client/perf/README.md.
#include <chrono>
#include <cstring>
#include <new>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/perf/device.h"

namespace nodecomm::perf {
namespace {

// Aligned as memory of a GPU is.
constexpr std::align_val_t kAlignment{256};

class HostMemory final : public DeviceMemory {
 public:
  explicit HostMemory(std::byte* data) : data_(data) {}
  ~HostMemory() override { ::operator delete[](data_, kAlignment); }
  std::byte* data() const override { return data_; }

 private:
  std::byte* const data_;
};

class HostDevice final : public Device {
 public:
  std::string Name() const override { return "simulated"; }
  void* stream() const override { return nullptr; }

  absl::StatusOr<std::unique_ptr<DeviceMemory>> Allocate(ByteCount size) override {
    void* data = ::operator new[](size.value, kAlignment, std::nothrow);
    if (data == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("allocating %d bytes of host memory", size.value));
    }
    return std::make_unique<HostMemory>(static_cast<std::byte*>(data));
  }
  absl::Status Upload(std::byte* to, const std::byte* from, ByteCount size) override {
    std::memcpy(to, from, size.value);
    return absl::OkStatus();
  }
  absl::Status Download(std::byte* to, const std::byte* from, ByteCount size) override {
    std::memcpy(to, from, size.value);
    return absl::OkStatus();
  }
  absl::Status Synchronize() override { return absl::OkStatus(); }

  absl::StatusOr<std::unique_ptr<DeviceGraph>> Capture(absl::FunctionRef<absl::Status()>) override {
    return absl::FailedPreconditionError("graphs need a GPU; use --mode eager");
  }
  absl::StatusOr<double> TimeUs(absl::FunctionRef<absl::Status()> enqueue) override {
    const auto start = std::chrono::steady_clock::now();
    ABSL_RETURN_IF_ERROR(enqueue());
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
        .count();
  }
};

}  // namespace

std::unique_ptr<Device> CreateHostDevice() { return std::make_unique<HostDevice>(); }

}  // namespace nodecomm::perf
