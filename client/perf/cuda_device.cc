// Measuring on a GPU: the CUDA runtime behind device.h.
// Not linked into libnodecomm, and shares nothing with it but the GPU's primary context.
// Design note: client/perf/README.md.
#include <cuda_runtime_api.h>

#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/base/status_macros.h"
#include "client/perf/device.h"

namespace nodecomm::perf {
namespace {

// The one place where this program turns a CUDA code into a status.
absl::Status CudaStatus(cudaError_t code, absl::string_view what) {
  if (code == cudaSuccess) return absl::OkStatus();
  const std::string message = absl::StrFormat("%s: %s", what, cudaGetErrorString(code));
  if (code == cudaErrorMemoryAllocation) return absl::ResourceExhaustedError(message);
  return absl::InternalError(message);
}

class CudaMemory final : public DeviceMemory {
 public:
  explicit CudaMemory(std::byte* data) : data_(data) {}
  ~CudaMemory() override { cudaFree(data_); }
  std::byte* data() const override { return data_; }

 private:
  std::byte* const data_;
};

class CudaGraph final : public DeviceGraph {
 public:
  CudaGraph(cudaGraphExec_t graph, cudaStream_t stream) : graph_(graph), stream_(stream) {}
  ~CudaGraph() override { cudaGraphExecDestroy(graph_); }
  absl::Status Launch() override {
    return CudaStatus(cudaGraphLaunch(graph_, stream_), "launching a graph");
  }

 private:
  const cudaGraphExec_t graph_;
  const cudaStream_t stream_;
};

class CudaDevice final : public Device {
 public:
  // Takes the stream and the events.
  CudaDevice(std::string name, cudaStream_t stream, cudaEvent_t start, cudaEvent_t end)
      : name_(std::move(name)), stream_(stream), start_(start), end_(end) {}
  ~CudaDevice() override {
    cudaEventDestroy(start_);
    cudaEventDestroy(end_);
    cudaStreamDestroy(stream_);
  }

  std::string Name() const override { return name_; }
  void* stream() const override { return stream_; }

  absl::StatusOr<std::unique_ptr<DeviceMemory>> Allocate(ByteCount size) override {
    void* data = nullptr;
    ABSL_RETURN_IF_ERROR(
        CudaStatus(cudaMalloc(&data, size.value),
                   absl::StrFormat("allocating %d bytes on %s", size.value, name_)));
    return std::make_unique<CudaMemory>(static_cast<std::byte*>(data));
  }

  absl::Status Upload(std::byte* to, const std::byte* from, ByteCount size) override {
    ABSL_RETURN_IF_ERROR(CudaStatus(
        cudaMemcpyAsync(to, from, size.value, cudaMemcpyHostToDevice, stream_), "copying to GPU"));
    return Synchronize();
  }
  absl::Status Download(std::byte* to, const std::byte* from, ByteCount size) override {
    ABSL_RETURN_IF_ERROR(
        CudaStatus(cudaMemcpyAsync(to, from, size.value, cudaMemcpyDeviceToHost, stream_),
                   "copying from GPU"));
    return Synchronize();
  }
  absl::Status Synchronize() override {
    return CudaStatus(cudaStreamSynchronize(stream_), "synchronising a stream");
  }

  absl::StatusOr<std::unique_ptr<DeviceGraph>> Capture(
      absl::FunctionRef<absl::Status()> enqueue) override {
    ABSL_RETURN_IF_ERROR(CudaStatus(
        cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "beginning a capture"));
    const absl::Status enqueued = enqueue();
    cudaGraph_t graph = nullptr;
    // The capture has to be ended in any case, or the stream stays unusable.
    const absl::Status ended =
        CudaStatus(cudaStreamEndCapture(stream_, &graph), "ending a capture");
    cudaGraphExec_t executable = nullptr;
    absl::Status status = enqueued.ok() ? ended : enqueued;
    if (status.ok()) {
      status = CudaStatus(cudaGraphInstantiate(&executable, graph, 0), "instantiating a graph");
    }
    if (graph != nullptr) cudaGraphDestroy(graph);
    ABSL_RETURN_IF_ERROR(status);
    auto result = std::make_unique<CudaGraph>(executable, stream_);
    // Else the first launch pays for the upload.
    ABSL_RETURN_IF_ERROR(CudaStatus(cudaGraphUpload(executable, stream_), "uploading a graph"));
    return result;
  }

  absl::StatusOr<double> TimeUs(absl::FunctionRef<absl::Status()> enqueue) override {
    ABSL_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(start_, stream_), "recording an event"));
    ABSL_RETURN_IF_ERROR(enqueue());
    ABSL_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(end_, stream_), "recording an event"));
    ABSL_RETURN_IF_ERROR(CudaStatus(cudaEventSynchronize(end_), "waiting for an event"));
    float milliseconds = 0;
    ABSL_RETURN_IF_ERROR(
        CudaStatus(cudaEventElapsedTime(&milliseconds, start_, end_), "reading events"));
    return milliseconds * 1e3;
  }

 private:
  const std::string name_;
  const cudaStream_t stream_;
  const cudaEvent_t start_;
  const cudaEvent_t end_;
};

std::string VersionText(int version) {
  return absl::StrFormat("%d.%d", version / 1000, version % 1000 / 10);
}

// The kernel module's version, as in "580.65.06"; the driver's library reports only the CUDA
// version it serves.
std::string KernelModuleVersion() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  std::getline(file, line);
  for (absl::string_view word : absl::StrSplit(line, ' ', absl::SkipEmpty())) {
    if (word.find_first_not_of("0123456789.") == absl::string_view::npos &&
        absl::StrContains(word, '.')) {
      return std::string(word);
    }
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> CreateCudaDevice(DeviceIndex index) {
  ABSL_RETURN_IF_ERROR(
      CudaStatus(cudaSetDevice(index.value), absl::StrFormat("choosing GPU %d", index.value)));
  cudaDeviceProp properties;
  ABSL_RETURN_IF_ERROR(CudaStatus(cudaGetDeviceProperties(&properties, index.value),
                                  absl::StrFormat("asking for GPU %d", index.value)));
  cudaStream_t stream = nullptr;
  ABSL_RETURN_IF_ERROR(
      CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream"));
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;
  absl::Status status = CudaStatus(cudaEventCreate(&start), "creating an event");
  if (status.ok()) status = CudaStatus(cudaEventCreate(&end), "creating an event");
  // The object owns what there is, also if an event is missing.
  auto device = std::make_unique<CudaDevice>(properties.name, stream, start, end);
  ABSL_RETURN_IF_ERROR(status);
  return device;
}

int CudaDeviceCount() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

CudaVersions ReadCudaVersions() {
  int driver = 0;
  int runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const std::string module = KernelModuleVersion();
  return {absl::StrCat(module.empty() ? "unknown" : module, " (CUDA ", VersionText(driver), ")"),
          VersionText(runtime)};
}

}  // namespace nodecomm::perf
