// Streams, gates, memory and graphs of the CUDA runtime, each owned by one object, for tests.
// Everything is made on the current device. A CUDA error ends the program: its context is lost, and
// later results would mean nothing.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace nodecomm {

inline void CheckCuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::abort();
}
#define CHECK_CUDA(call) ::nodecomm::CheckCuda(call, #call)

class Stream {
 public:
  Stream() { CHECK_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~Stream() { CHECK_CUDA(cudaStreamDestroy(stream_)); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  void Copy(void* to, const void* from, size_t bytes) const {
    CHECK_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_));
  }
  // Also beside somebody's capture, which forbids it to who has not said that he knows.
  void Synchronize() const {
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    CHECK_CUDA(cudaThreadExchangeStreamCaptureMode(&mode));
    CHECK_CUDA(cudaStreamSynchronize(stream_));
    CHECK_CUDA(cudaThreadExchangeStreamCaptureMode(&mode));
  }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { CHECK_CUDA(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
  ~Event() { CHECK_CUDA(cudaEventDestroy(event_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void Record(const Stream& stream) const { CHECK_CUDA(cudaEventRecord(event_, stream.get())); }
  void HoldBack(cudaStream_t stream) const { CHECK_CUDA(cudaStreamWaitEvent(stream, event_)); }

 private:
  cudaEvent_t event_ = nullptr;
};

// What several streams wait for, so that what is enqueued behind it begins on all at the same time.
class Gate {
 public:
  Gate() {
    const auto wait = [](void* is_open) { static_cast<std::atomic<bool>*>(is_open)->wait(false); };
    CHECK_CUDA(cudaLaunchHostFunc(stream_.get(), wait, &is_open_));
    opened_.Record(stream_);
  }
  // Opens it.
  ~Gate() {
    Open();
    stream_.Synchronize();
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  void HoldBack(cudaStream_t stream) const { opened_.HoldBack(stream); }
  void Open() {
    is_open_.store(true);
    is_open_.notify_all();
  }

 private:
  std::atomic<bool> is_open_ = false;
  const Stream stream_;
  const Event opened_;
};

class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes) {
    void* data = nullptr;
    CHECK_CUDA(cudaMalloc(&data, bytes));
    data_ = static_cast<uint8_t*>(data);
  }
  ~DeviceMemory() { CHECK_CUDA(cudaFree(data_)); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  uint8_t* data() const { return data_; }

 private:
  uint8_t* data_ = nullptr;
};

// A rank's stream and memory, taken before the ranks wait for each other: taking or freeing memory
// waits for all of a GPU's work, among it a kernel that waits for this rank, if ranks share the
// GPU.
struct Workspace {
  Workspace() { CHECK_CUDA(cudaMemset(memory.data(), 0, kBytes)); }

  static constexpr size_t kBytes = size_t{32} << 20;
  DeviceMemory memory{kBytes};
  Stream stream;
};

// What `enqueue` puts on `stream`, to be launched there any number of times.
class Graph {
 public:
  Graph(const Stream& stream, const std::function<void()>& enqueue) : stream_(stream.get()) {
    cudaGraph_t graph = nullptr;
    CHECK_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    enqueue();
    CHECK_CUDA(cudaStreamEndCapture(stream_, &graph));
    CHECK_CUDA(cudaGraphInstantiate(&executable_, graph, 0));
    CHECK_CUDA(cudaGraphUpload(executable_, stream_));
    CHECK_CUDA(cudaStreamSynchronize(stream_));
    CHECK_CUDA(cudaGraphDestroy(graph));
  }
  ~Graph() { CHECK_CUDA(cudaGraphExecDestroy(executable_)); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void Launch() const { CHECK_CUDA(cudaGraphLaunch(executable_, stream_)); }

 private:
  const cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

// To the host, once what is on `stream` is done.
inline std::vector<uint8_t> Download(const Stream& stream, const void* from, size_t bytes) {
  std::vector<uint8_t> data(bytes);
  stream.Copy(data.data(), from, bytes);
  stream.Synchronize();
  return data;
}

}  // namespace nodecomm
