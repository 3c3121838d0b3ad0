#include "daemon/allocator/cuda_driver.h"

#include <cuda.h>
#include <dlfcn.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "client/base/status_macros.h"

namespace nodecomm {

// Signatures of the API's generations that are named in Resolve().
struct CudaEntryPoints {
  decltype(&cuInit) init = nullptr;
  decltype(&cuGetErrorString) get_error_string = nullptr;
  decltype(&cuDeviceGetCount) device_get_count = nullptr;
  decltype(&cuDeviceGet) device_get = nullptr;
  decltype(&cuDeviceGetUuid) device_get_uuid = nullptr;
  decltype(&cuMemGetAllocationGranularity) get_granularity = nullptr;
  decltype(&cuMemCreate) mem_create = nullptr;
  decltype(&cuMemExportToShareableHandle) mem_export = nullptr;
  decltype(&cuMemRelease) mem_release = nullptr;
};

namespace {

template <typename Function>
absl::Status ResolveOne(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function != nullptr) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrFormat("libcuda.so.1 has no %s; install a newer NVIDIA driver", name));
}

absl::Status Resolve(void* library, CudaEntryPoints& cuda) {
  ABSL_RETURN_IF_ERROR(ResolveOne(library, "cuInit", cuda.init));
  ABSL_RETURN_IF_ERROR(ResolveOne(library, "cuGetErrorString", cuda.get_error_string));
  ABSL_RETURN_IF_ERROR(ResolveOne(library, "cuDeviceGetCount", cuda.device_get_count));
  ABSL_RETURN_IF_ERROR(ResolveOne(library, "cuDeviceGet", cuda.device_get));
  ABSL_RETURN_IF_ERROR(ResolveOne(library, "cuDeviceGetUuid_v2", cuda.device_get_uuid));
  ABSL_RETURN_IF_ERROR(ResolveOne(library, "cuMemGetAllocationGranularity", cuda.get_granularity));
  ABSL_RETURN_IF_ERROR(ResolveOne(library, "cuMemCreate", cuda.mem_create));
  ABSL_RETURN_IF_ERROR(ResolveOne(library, "cuMemExportToShareableHandle", cuda.mem_export));
  return ResolveOne(library, "cuMemRelease", cuda.mem_release);
}

// The one place where codes of the driver become statuses.
absl::Status ToStatus(const CudaEntryPoints& cuda, CUresult result, std::string_view what) {
  if (result == CUDA_SUCCESS) return absl::OkStatus();
  const char* text = nullptr;
  if (cuda.get_error_string(result, &text) != CUDA_SUCCESS || text == nullptr) text = "unknown";
  const std::string message =
      absl::StrFormat("%s: %s (CUDA error %d)", what, text, static_cast<int>(result));
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      return absl::ResourceExhaustedError(message);
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_SYSTEM_NOT_READY:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

std::string UuidText(const CUuuid& uuid) {
  const std::string hex = absl::BytesToHexString(absl::string_view(uuid.bytes, sizeof(uuid.bytes)));
  return absl::StrFormat("GPU-%s-%s-%s-%s-%s", hex.substr(0, 8), hex.substr(8, 4),
                         hex.substr(12, 4), hex.substr(16, 4), hex.substr(20));
}

// Memory that exists until its last fd and mapping are gone; released here in any case.
class Allocation {
 public:
  Allocation(const CudaEntryPoints& cuda, CUmemGenericAllocationHandle handle)
      : cuda_(cuda), handle_(handle) {}
  ~Allocation() { cuda_.mem_release(handle_); }
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;
  CUmemGenericAllocationHandle handle() const { return handle_; }

 private:
  const CudaEntryPoints& cuda_;
  const CUmemGenericAllocationHandle handle_;
};

CUmemAllocationProp PlaneProperties(DeviceIndex device) {
  CUmemAllocationProp properties = {};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device.value;
  return properties;
}

}  // namespace

CudaDriver::CudaDriver(std::unique_ptr<const CudaEntryPoints> cuda) : cuda_(std::move(cuda)) {}

CudaDriver::~CudaDriver() = default;

absl::StatusOr<std::unique_ptr<CudaDriver>> CudaDriver::Load() {
  // Never closed: libcuda cannot be unloaded safely.
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::UnavailableError(
        absl::StrFormat("loading the NVIDIA driver's library: %s", dlerror()));
  }
  auto cuda = std::make_unique<CudaEntryPoints>();
  ABSL_RETURN_IF_ERROR(Resolve(library, *cuda));
  ABSL_RETURN_IF_ERROR(ToStatus(*cuda, cuda->init(0), "cuInit"));
  std::unique_ptr<CudaDriver> driver(new CudaDriver(std::move(cuda)));
  ABSL_RETURN_IF_ERROR(driver->FindGpus());
  return driver;
}

absl::Status CudaDriver::FindGpus() {
  int count = 0;
  ABSL_RETURN_IF_ERROR(ToStatus(*cuda_, cuda_->device_get_count(&count), "cuDeviceGetCount"));
  for (int i = 0; i < count; ++i) {
    CUdevice device = 0;
    ABSL_RETURN_IF_ERROR(ToStatus(*cuda_, cuda_->device_get(&device, i),
                                  absl::StrFormat("cuDeviceGet of GPU %d", i)));
    CUuuid uuid = {};
    ABSL_RETURN_IF_ERROR(ToStatus(*cuda_, cuda_->device_get_uuid(&uuid, device),
                                  absl::StrFormat("cuDeviceGetUuid of GPU %d", i)));
    gpu_uuids_.push_back(UuidText(uuid));
  }
  return absl::OkStatus();
}

absl::StatusOr<Plane> CudaDriver::CreatePlane(std::string_view gpu_uuid, ByteCount bytes) {
  const auto found = std::find(gpu_uuids_.begin(), gpu_uuids_.end(), gpu_uuid);
  if (found == gpu_uuids_.end()) {
    return absl::NotFoundError(
        absl::StrFormat("the NVIDIA driver knows no GPU %s; see nvidia-smi -L", gpu_uuid));
  }
  if (bytes.value == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a plane of 0 bytes was asked for on %s", gpu_uuid));
  }
  // Positions are those of this process's own list, so position, ordinal and location id are one.
  const CUmemAllocationProp properties =
      PlaneProperties(DeviceIndex{static_cast<int>(found - gpu_uuids_.begin())});
  size_t granularity = 0;
  ABSL_RETURN_IF_ERROR(ToStatus(
      *cuda_, cuda_->get_granularity(&granularity, &properties, CU_MEM_ALLOC_GRANULARITY_MINIMUM),
      absl::StrFormat("allocation granularity of %s", gpu_uuid)));
  if (bytes.value > std::numeric_limits<size_t>::max() - granularity) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("a plane of %u bytes does not fit on %s", bytes.value, gpu_uuid));
  }
  const size_t rounded = (bytes.value + granularity - 1) / granularity * granularity;

  CUmemGenericAllocationHandle handle = 0;
  ABSL_RETURN_IF_ERROR(ToStatus(*cuda_, cuda_->mem_create(&handle, rounded, &properties, 0),
                                absl::StrFormat("creating %u bytes on %s", rounded, gpu_uuid)));
  const Allocation allocation(*cuda_, handle);
  int fd = -1;
  ABSL_RETURN_IF_ERROR(ToStatus(
      *cuda_,
      cuda_->mem_export(&fd, allocation.handle(), CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
      absl::StrFormat("exporting %u bytes on %s", rounded, gpu_uuid)));
  return Plane{UniqueFd(fd), ByteCount{rounded}};
}

}  // namespace nodecomm
