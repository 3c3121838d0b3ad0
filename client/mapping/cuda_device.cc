#include "client/mapping/cuda_device.h"

#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"
#include "client/mapping/cuda_driver.h"
#include "client/mapping/host_memory.h"
#include "kernels/all_reduce_cuda.h"
#include "kernels/cuda_status.h"
#include "kernels/loaded_kernels.h"
#include "kernels/zero_check_cuda.h"

namespace nodecomm {
namespace {

// A check takes microseconds, once the GPU has room for it.
constexpr absl::Duration kZeroCheckTimeout = absl::Seconds(30);
constexpr absl::Duration kZeroCheckPoll = absl::Microseconds(20);
// More than a block that has begun takes.
constexpr absl::Duration kZeroCheckLength = absl::Milliseconds(10);

// What the host shares with this device's kernels, in one piece of pinned memory. It is taken
// before the group forms: later, taking or freeing such memory could wait for a kernel that waits
// for this rank.
struct Pinned {
  kernels::FailureRecord failure;
  kernels::ZeroCheck zero_check;
};

// Makes `context` current for its life, and afterwards again what was before, even if that was
// none. By the driver: the runtime's way (cudaSetDevice) would make a context of the device that it
// goes back to.
class ContextScope {
 public:
  // Where that fails, what is called in the scope says why.
  ContextScope(const CudaDriver& driver, CUcontext context)
      : driver_(driver), pushed_(driver.context_push(context) == CUDA_SUCCESS) {}
  ~ContextScope() {
    if (!pushed_) return;  // or the caller's own context would go
    CUcontext popped;
    driver_.context_pop(&popped);
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  const CudaDriver& driver_;
  const bool pushed_;
};

// Lets this thread allocate and map while another thread of the process captures a graph. By the
// driver: the runtime's way makes a context of the device that is current, where there is none.
class CaptureExempt {
 public:
  explicit CaptureExempt(const CudaDriver& driver) : driver_(driver) {
    driver_.thread_exchange_capture_mode(&mode_);
  }
  ~CaptureExempt() { driver_.thread_exchange_capture_mode(&mode_); }
  CaptureExempt(const CaptureExempt&) = delete;
  CaptureExempt& operator=(const CaptureExempt&) = delete;

 private:
  const CudaDriver& driver_;
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
};

// As nvidia-smi and NVML write it.
std::string UuidText(const CUuuid& uuid) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    absl::StrAppendFormat(&text, "%02x", static_cast<unsigned char>(uuid.bytes[i]));
  }
  return text;
}

void UnmapPlane(std::byte* data, ByteCount bytes) {
  // The table is there: the mapping was made with it.
  const CudaDriver& driver = **CudaDriver::Get();
  const CaptureExempt exempt(driver);
  const auto address = reinterpret_cast<CUdeviceptr>(data);
  driver.memory_unmap(address, bytes.value);
  driver.address_free(address, bytes.value);
}

// One allocation of the driver, until it is mapped.
class MemoryHandle {
 public:
  MemoryHandle(const CudaDriver& driver, CUmemGenericAllocationHandle handle)
      : driver_(driver), handle_(handle) {}
  ~MemoryHandle() { driver_.memory_release(handle_); }
  MemoryHandle(const MemoryHandle&) = delete;
  MemoryHandle& operator=(const MemoryHandle&) = delete;
  CUmemGenericAllocationHandle get() const { return handle_; }

 private:
  const CudaDriver& driver_;
  CUmemGenericAllocationHandle handle_;
};

class CudaDevice : public Device {
 public:
  CudaDevice(const CudaDriver& driver, CUdevice device, CUcontext context, size_t granularity,
             DeviceFacts facts)
      : driver_(driver),
        device_(device),
        context_(context),
        granularity_(granularity),
        facts_(std::move(facts)) {}

  ~CudaDevice() override {
    const ContextScope scope(driver_, context_);
    const CaptureExempt exempt(driver_);
    if (control_page_registered_) cudaHostUnregister(control_page_.data());
    if (pinned_ != nullptr) cudaFreeHost(pinned_);
    cudaGetLastError();
  }

  absl::Status AllocatePinned() {
    const ContextScope scope(driver_, context_);
    const CaptureExempt exempt(driver_);
    void* on_host = nullptr;
    ABSL_RETURN_IF_ERROR(CudaStatus(
        cudaHostAlloc(&on_host, sizeof(Pinned), cudaHostAllocMapped | cudaHostAllocPortable),
        Named("allocate pinned memory")));
    std::memset(on_host, 0, sizeof(Pinned));
    pinned_ = static_cast<Pinned*>(on_host);
    failure_.on_host = &pinned_->failure;
    void* on_device = nullptr;
    ABSL_RETURN_IF_ERROR(CudaStatus(cudaHostGetDevicePointer(&on_device, on_host, 0),
                                    Named("find the GPU's address of pinned memory")));
    failure_.on_device = &static_cast<Pinned*>(on_device)->failure;
    zero_check_on_device_ = &static_cast<Pinned*>(on_device)->zero_check;
    return absl::OkStatus();
  }

  const DeviceFacts& facts() const override { return facts_; }
  FailureView failure() override { return failure_; }

  absl::StatusOr<Mapping> MapPlane(UniqueFd fd, ByteCount bytes) override {
    const ContextScope scope(driver_, context_);
    const CaptureExempt exempt(driver_);
    CUmemGenericAllocationHandle imported;
    ABSL_RETURN_IF_ERROR(CudaStatus(
        driver_.memory_import(&imported, reinterpret_cast<void*>(static_cast<intptr_t>(fd.get())),
                              CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
        Named("import of a peer's memory")));
    // Mapping takes a reference of its own, so the handle and the fd may go.
    const MemoryHandle handle(driver_, imported);
    fd.Reset();
    const size_t size = (bytes.value + granularity_ - 1) / granularity_ * granularity_;
    CUdeviceptr address;
    ABSL_RETURN_IF_ERROR(CudaStatus(driver_.address_reserve(&address, size, 0, 0, 0),
                                    Named("reserve addresses for a peer's memory")));
    const CUresult mapped = driver_.memory_map(address, size, 0, handle.get(), 0);
    if (mapped != CUDA_SUCCESS) {
      driver_.address_free(address, size);
      return CudaStatus(mapped, Named("map a peer's memory"));
    }
    Mapping mapping(reinterpret_cast<std::byte*>(address), {size}, &UnmapPlane);
    CUmemAccessDesc access = {};
    access.location = {};
    access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    access.location.id = device_;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    ABSL_RETURN_IF_ERROR(CudaStatus(driver_.memory_set_access(address, size, &access, 1),
                                    Named("get access to a peer's memory")));
    return mapping;
  }

  absl::Status CheckZero(const Mapping& plane) override {
    return OnOwnStream([&](cudaStream_t stream) { return CheckZeroOn(plane, stream); });
  }

  absl::StatusOr<ControlPageView> MapControlPage(UniqueFd fd) override {
    const ContextScope scope(driver_, context_);
    const CaptureExempt exempt(driver_);
    ABSL_ASSIGN_OR_RETURN(control_page_, MapFileReadOnly(fd, {kControlPageBytes}));
    ABSL_RETURN_IF_ERROR(
        CudaStatus(cudaHostRegister(control_page_.data(), kControlPageBytes,
                                    cudaHostRegisterMapped | cudaHostRegisterReadOnly),
                   Named("register the group's control page")));
    control_page_registered_ = true;
    void* on_device = nullptr;
    ABSL_RETURN_IF_ERROR(CudaStatus(cudaHostGetDevicePointer(&on_device, control_page_.data(), 0),
                                    Named("find the GPU's address of the control page")));
    return ControlPageView{.on_host = reinterpret_cast<const ControlPage*>(control_page_.data()),
                           .on_device = static_cast<const ControlPage*>(on_device)};
  }

  absl::Status Bind(const kernels::Binding& binding) override {
    const ContextScope scope(driver_, context_);
    const CaptureExempt exempt(driver_);
    ABSL_ASSIGN_OR_RETURN(const kernels::LoadedKernels kernels,
                          kernels::LoadedKernels::LoadOnCurrentDevice(binding.shape.world_size));
    calls_.emplace(kernels, binding);
    return absl::OkStatus();
  }

  absl::Status AllReduce(const kernels::Message& message, void* stream) override {
    const auto cuda_stream = static_cast<cudaStream_t>(stream);
    // Nearly always the caller's current device is ours already.
    if (IsCurrent()) [[likely]]
      return calls_->Enqueue(message, cuda_stream);
    const ContextScope scope(driver_, context_);
    return calls_->Enqueue(message, cuda_stream);
  }

  absl::Status Copy(const kernels::Message& message, void* stream) override {
    if (message.in == message.out) return absl::OkStatus();
    const ContextScope scope(driver_, context_);
    const size_t bytes = message.count * kernels::ElementBytes(message.type);
    return CudaStatus(cudaMemcpyAsync(message.out, message.in, bytes, cudaMemcpyDefault,
                                      static_cast<cudaStream_t>(stream)),
                      Named("copy"));
  }

  absl::Status Synchronize() override {
    const ContextScope scope(driver_, context_);
    return CudaStatus(cudaDeviceSynchronize(), Named("wait for the GPU's work"));
  }

  absl::StatusOr<PlaneHeaderCopy> CopyPlaneHeader(const Mapping& plane) override {
    PlaneHeaderCopy copy;
    ABSL_RETURN_IF_ERROR(OnOwnStream([&](cudaStream_t stream) {
      cudaError_t error =
          cudaMemcpyAsync(copy.data(), plane.data(), copy.size(), cudaMemcpyDeviceToHost, stream);
      if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
      return CudaStatus(error, Named("read this rank's plane"));
    }));
    return copy;
  }

 private:
  // The default stream would wait for the application's work, and its work for ours; where another
  // thread captures a graph it may not be used at all.
  absl::Status OnOwnStream(absl::FunctionRef<absl::Status(cudaStream_t)> work) {
    const ContextScope scope(driver_, context_);
    const CaptureExempt exempt(driver_);
    cudaStream_t stream;
    ABSL_RETURN_IF_ERROR(CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                                    Named("make a stream")));
    const absl::Status done = work(stream);
    cudaStreamDestroy(stream);
    return done;
  }

  absl::Status CheckZeroOn(const Mapping& plane, cudaStream_t stream) {
    kernels::ZeroCheck& check = pinned_->zero_check;
    check = {};
    ABSL_RETURN_IF_ERROR(
        kernels::CheckZeroOnStream(plane.data(), plane.bytes(), zero_check_on_device_, stream));
    const SteadyTime deadline = SteadyNow() + kZeroCheckTimeout;
    cudaError_t state = cudaStreamQuery(stream);
    while (state == cudaErrorNotReady && SteadyNow() < deadline) {
      absl::SleepFor(kZeroCheckPoll);
      state = cudaStreamQuery(stream);
    }
    // What the queries left behind is no error that the application should find.
    if (cudaPeekAtLastError() == cudaErrorNotReady) cudaGetLastError();
    if (state == cudaErrorNotReady) {
      // Blocks that have not begun must not touch what will be unmapped by then.
      __atomic_store_n(&check.cancelled, 1, __ATOMIC_SEQ_CST);
      absl::SleepFor(kZeroCheckLength);
      return absl::DeadlineExceededError(absl::StrFormat("%s: other kernels left it no room for %s",
                                                         Named("look at fresh memory"),
                                                         absl::FormatDuration(kZeroCheckTimeout)));
    }
    ABSL_RETURN_IF_ERROR(CudaStatus(state, Named("look at fresh memory")));
    const uint64_t found = __atomic_load_n(&check.offset_plus_one, __ATOMIC_ACQUIRE);
    if (found == 0) return absl::OkStatus();
    return absl::InternalError(absl::StrFormat("the 16 bytes at offset %d of %d are not zero",
                                               found - 1, plane.bytes().value));
  }

  bool IsCurrent() const {
    CUcontext current = nullptr;
    return driver_.context_get_current(&current) == CUDA_SUCCESS && current == context_;
  }

  // For messages.
  std::string Named(std::string_view what) const {
    return absl::StrFormat("%s on GPU %d (%s)", what, device_, facts_.gpu_uuid);
  }

  const CudaDriver& driver_;
  const CUdevice device_;
  // The device's primary context. Never released: the runtime keeps what it loaded in it, for all
  // users of the process.
  const CUcontext context_;
  const size_t granularity_;
  const DeviceFacts facts_;
  Mapping control_page_;
  bool control_page_registered_ = false;
  Pinned* pinned_ = nullptr;
  std::optional<kernels::AllReduceCalls> calls_;
  FailureView failure_;
  kernels::ZeroCheck* zero_check_on_device_ = nullptr;
};

absl::StatusOr<CUdevice> FindDevice(const CudaDriver& driver, DeviceIndex index) {
  int count = 0;
  ABSL_RETURN_IF_ERROR(CudaStatus(driver.device_get_count(&count), "count GPUs"));
  if (index.value < 0 || index.value >= count) {
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    return absl::InvalidArgumentError(absl::StrFormat(
        "device %d is unknown: CUDA sees %d GPUs in this process (CUDA_VISIBLE_DEVICES is %s)",
        index.value, count, visible == nullptr ? "not set" : visible));
  }
  CUdevice device;
  ABSL_RETURN_IF_ERROR(CudaStatus(driver.device_get(&device, index.value),
                                  absl::StrFormat("open GPU %d", index.value)));
  return device;
}

absl::StatusOr<DeviceFacts> ReadFacts(const CudaDriver& driver, CUdevice device) {
  const std::string what = absl::StrFormat("read the attributes of GPU %d", device);
  CUuuid uuid;
  ABSL_RETURN_IF_ERROR(CudaStatus(driver.device_get_uuid(&uuid, device), what));
  DeviceFacts facts;
  facts.gpu_uuid = UuidText(uuid);
  std::array<char, 32> pci_bus_id = {};
  ABSL_RETURN_IF_ERROR(CudaStatus(
      driver.device_get_pci_bus_id(pci_bus_id.data(), static_cast<int>(pci_bus_id.size()), device),
      what));
  facts.pci_bus_id = pci_bus_id.data();
  for (const auto& [attribute, value] :
       {std::pair{CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &facts.multiprocessors},
        std::pair{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &facts.compute_capability_major},
        std::pair{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &facts.compute_capability_minor}}) {
    ABSL_RETURN_IF_ERROR(CudaStatus(driver.device_get_attribute(value, attribute, device), what));
  }
  return facts;
}

absl::StatusOr<size_t> ReadGranularity(const CudaDriver& driver, CUdevice device) {
  CUmemAllocationProp properties = {};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device;
  size_t granularity = 0;
  ABSL_RETURN_IF_ERROR(CudaStatus(
      driver.memory_granularity(&granularity, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM),
      absl::StrFormat("read the memory granularity of GPU %d", device)));
  return granularity;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> CreateCudaDevice(DeviceIndex index) {
  ABSL_ASSIGN_OR_RETURN(const CudaDriver* driver, CudaDriver::Get());
  ABSL_ASSIGN_OR_RETURN(const CUdevice device, FindDevice(*driver, index));
  ABSL_ASSIGN_OR_RETURN(DeviceFacts facts, ReadFacts(*driver, device));
  ABSL_ASSIGN_OR_RETURN(const size_t granularity, ReadGranularity(*driver, device));
  CUcontext context;
  ABSL_RETURN_IF_ERROR(CudaStatus(driver->primary_context_retain(&context, device),
                                  absl::StrFormat("make the context of GPU %d", device)));
  auto made = std::make_unique<CudaDevice>(*driver, device, context, granularity, std::move(facts));
  ABSL_RETURN_IF_ERROR(made->AllocatePinned());
  return made;
}

}  // namespace nodecomm
