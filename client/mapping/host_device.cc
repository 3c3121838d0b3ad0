#include "client/mapping/host_device.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/mapping/host_memory.h"

namespace nodecomm {
namespace {

// Topologies do not say; the same for all, so that every rank chooses the same grid.
constexpr int kSimulatedMultiprocessors = 132;

class HostDevice : public Device {
 public:
  explicit HostDevice(DeviceFacts facts) : facts_(std::move(facts)) {}

  const DeviceFacts& facts() const override { return facts_; }
  FailureView failure() override { return {.on_host = &failure_, .on_device = &failure_}; }

  absl::StatusOr<Mapping> MapPlane(UniqueFd fd, ByteCount bytes) override {
    return MapFileReadWrite(fd, bytes);
  }

  absl::Status CheckZero(const Mapping& plane) override {
    const std::byte* begin = plane.data();
    const size_t size = plane.bytes().value;
    // Every byte is its neighbour's equal: by far the fastest way.
    const bool all_equal = std::memcmp(begin, begin + 1, size - 1) == 0;
    if (all_equal && *begin == std::byte{0}) return absl::OkStatus();
    const auto* found =
        std::find_if(begin, begin + size, [](std::byte byte) { return byte != std::byte{0}; });
    return absl::InternalError(
        absl::StrFormat("the byte at offset %d of %d is not zero", found - begin, size));
  }

  absl::StatusOr<ControlPageView> MapControlPage(UniqueFd fd) override {
    ABSL_ASSIGN_OR_RETURN(control_page_, MapFileReadOnly(fd, {kControlPageBytes}));
    const auto* page = reinterpret_cast<const ControlPage*>(control_page_.data());
    return ControlPageView{.on_host = page, .on_device = page};
  }

  absl::Status Bind(const kernels::Binding& binding) override {
    binding_ = binding;
    return absl::OkStatus();
  }

  absl::Status AllReduce(const kernels::Message& message, void* /*stream*/) override {
    return kernels::AllReduceOnHost(binding_, message);
  }

  absl::Status Copy(const kernels::Message& message, void* /*stream*/) override {
    if (message.in != message.out) {
      std::memcpy(message.out, message.in, message.count * kernels::ElementBytes(message.type));
    }
    return absl::OkStatus();
  }

  absl::Status Synchronize() override { return absl::OkStatus(); }

  absl::StatusOr<PlaneHeaderCopy> CopyPlaneHeader(const Mapping& plane) override {
    PlaneHeaderCopy copy;
    std::memcpy(copy.data(), plane.data(), copy.size());
    return copy;
  }

 private:
  const DeviceFacts facts_;
  kernels::FailureRecord failure_ = {};
  kernels::Binding binding_;
  Mapping control_page_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> CreateHostDevice(const v1::Host& host, DeviceIndex index) {
  if (index.value < 0 || index.value >= host.gpus_size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("device %d is unknown: the simulated host has %d GPUs, 0 to %d",
                        index.value, host.gpus_size(), host.gpus_size() - 1));
  }
  const v1::Gpu& gpu = host.gpus(index.value);
  return std::make_unique<HostDevice>(
      DeviceFacts{.gpu_uuid = gpu.uuid(),
                  .multiprocessors = kSimulatedMultiprocessors,
                  .compute_capability_major = gpu.compute_capability_major(),
                  .compute_capability_minor = gpu.compute_capability_minor()});
}

}  // namespace nodecomm
