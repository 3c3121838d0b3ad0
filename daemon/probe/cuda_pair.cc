// Two GPUs of this process, CUDA's devices 0 and 1 (or 0 twice, if they are one), with the memory
// mapped as workers map it. Not the kernels (probe_kernels.cu).
// Design note: daemon/probe/README.md.
#include <cuda_runtime_api.h>
#include <fcntl.h>

#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/mapping/cuda_device.h"
#include "client/mapping/device.h"
#include "daemon/probe/gpu_pair.h"
#include "daemon/probe/probe_kernels.h"
#include "kernels/cuda_status.h"

namespace nodecomm::probe {
namespace {

// What one side's kernels need. The process ends with the probe, and all of it then.
struct GpuSide {
  int ordinal = 0;
  std::unique_ptr<Device> device;
  std::array<Mapping, 2> memory;  // as this GPU sees it, by owner
  cudaStream_t stream = nullptr;
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;
  Findings* findings = nullptr;  // device memory
};

absl::Status Selected(const GpuSide& side) {
  return CudaStatus(cudaSetDevice(side.ordinal), absl::StrFormat("use GPU %d", side.ordinal));
}

absl::StatusOr<UniqueFd> CopyOf(const UniqueFd& fd) {
  UniqueFd copy(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return absl::ErrnoToStatus(errno, "copying a descriptor");
  return copy;
}

v1::PeerAccess AccessOf(cudaDeviceP2PAttr attribute, int from, int to) {
  int value = 0;
  const bool answered = cudaDeviceGetP2PAttribute(&value, attribute, from, to) == cudaSuccess;
  if (!answered) {
    cudaGetLastError();
    return v1::PEER_ACCESS_UNKNOWN;
  }
  return value != 0 ? v1::PEER_ACCESS_SUPPORTED : v1::PEER_ACCESS_NOT_SUPPORTED;
}

class CudaPair final : public GpuPair {
 public:
  CudaPair(std::array<GpuSide, 2> sides, ByteCount bytes)
      : sides_(std::move(sides)), bytes_(bytes) {}

  ByteCount bytes() const override { return bytes_; }
  Rounds rounds() const override { return {.exchange = 200, .ping_pong = 1000}; }

  DriverWord AskDriver(Side from) override {
    const int a = sides_[IndexOf(from)].ordinal;
    const int b = sides_[IndexOf(OtherOf(from))].ordinal;
    DriverWord word;
    if (a == b) return word;  // no question for the driver
    word.access = AccessOf(cudaDevP2PAttrAccessSupported, a, b);
    word.native_atomics = AccessOf(cudaDevP2PAttrNativeAtomicSupported, a, b);
    int rank = 0;
    if (cudaDeviceGetP2PAttribute(&rank, cudaDevP2PAttrPerformanceRank, a, b) == cudaSuccess) {
      word.performance_rank = rank;
    }
    cudaGetLastError();
    return word;
  }

  absl::StatusOr<absl::Duration> Write(Side writer, Side owner, uint64_t seed) override {
    return Timed(writer, [&](GpuSide& side) {
      return LaunchWrite(side.memory[IndexOf(owner)].data(), Packets(), seed, Blocks(side),
                         side.stream);
    });
  }

  absl::StatusOr<Compared> Compare(Side reader, Side owner, uint64_t seed) override {
    GpuSide& side = sides_[IndexOf(reader)];
    ABSL_RETURN_IF_ERROR(ClearFindings(side));
    Compared compared;
    ABSL_ASSIGN_OR_RETURN(compared.duration, Timed(reader, [&](GpuSide& used) {
                            return LaunchCompare(used.memory[IndexOf(owner)].data(), Packets(),
                                                 seed, Blocks(used), used.findings, used.stream);
                          }));
    ABSL_ASSIGN_OR_RETURN(compared.findings, ReadFindings(side));
    return compared;
  }

  absl::StatusOr<FindingsOfBoth> ExchangeRounds(uint32_t rounds, absl::Duration timeout) override {
    return OnBothSides(rounds, timeout, [](const Exchange& exchange, Side, GpuSide& side) {
      return LaunchExchange(exchange, side.findings, side.stream);
    });
  }

  absl::StatusOr<FindingsOfBoth> PingPong(uint32_t rounds, absl::Duration timeout) override {
    return OnBothSides(rounds, timeout, [](const Exchange& exchange, Side which, GpuSide& side) {
      return LaunchPingPong(exchange, which == Side::kA ? Turn::kFirst : Turn::kSecond,
                            side.findings, side.stream);
    });
  }

 private:
  uint64_t Packets() const { return bytes_.value / sizeof(Packet); }
  static int Blocks(const GpuSide& side) { return side.device->facts().multiprocessors; }

  static absl::Status Finish(GpuSide& side, std::string_view what) {
    ABSL_RETURN_IF_ERROR(Selected(side));
    return CudaStatus(cudaStreamSynchronize(side.stream),
                      absl::StrFormat("%s on GPU %s", what, side.device->facts().gpu_uuid));
  }

  template <typename Launch>
  absl::StatusOr<absl::Duration> Timed(Side which, Launch launch) {
    GpuSide& side = sides_[IndexOf(which)];
    ABSL_RETURN_IF_ERROR(Selected(side));
    ABSL_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(side.start, side.stream), "note the time"));
    ABSL_RETURN_IF_ERROR(CudaStatus(launch(side), "launch a kernel"));
    ABSL_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(side.end, side.stream), "note the time"));
    ABSL_RETURN_IF_ERROR(Finish(side, "use the pair's memory"));
    float milliseconds = 0;
    ABSL_RETURN_IF_ERROR(
        CudaStatus(cudaEventElapsedTime(&milliseconds, side.start, side.end), "read the time"));
    return absl::Milliseconds(milliseconds);
  }

  static absl::Status ClearFindings(GpuSide& side) {
    ABSL_RETURN_IF_ERROR(Selected(side));
    ABSL_RETURN_IF_ERROR(CudaStatus(cudaMemcpyAsync(side.findings, &kNoFindings, sizeof(Findings),
                                                    cudaMemcpyHostToDevice, side.stream),
                                    "clear what was found"));
    return Finish(side, "clear what was found");
  }

  static absl::StatusOr<Findings> ReadFindings(GpuSide& side) {
    ABSL_RETURN_IF_ERROR(Selected(side));
    Findings findings;
    ABSL_RETURN_IF_ERROR(CudaStatus(cudaMemcpyAsync(&findings, side.findings, sizeof(findings),
                                                    cudaMemcpyDeviceToHost, side.stream),
                                    "read what was found"));
    ABSL_RETURN_IF_ERROR(Finish(side, "read what was found"));
    return findings;
  }

  // Each side clears its own memory, so that neither takes what lies there for a round.
  absl::Status Prepare(Side which) {
    GpuSide& side = sides_[IndexOf(which)];
    ABSL_RETURN_IF_ERROR(ClearFindings(side));
    ABSL_RETURN_IF_ERROR(CudaStatus(
        cudaMemsetAsync(side.memory[IndexOf(which)].data(), 0, kExchangeBytes, side.stream),
        "clear the pair's memory"));
    return Finish(side, "clear the pair's memory");
  }

  template <typename Launch>
  absl::StatusOr<FindingsOfBoth> OnBothSides(uint32_t rounds, absl::Duration timeout,
                                             Launch launch) {
    for (const Side which : {Side::kA, Side::kB}) ABSL_RETURN_IF_ERROR(Prepare(which));
    for (const Side which : {Side::kA, Side::kB}) {
      GpuSide& side = sides_[IndexOf(which)];
      const Exchange exchange = {
          .own = side.memory[IndexOf(which)].data(),
          .peer = side.memory[IndexOf(OtherOf(which))].data(),
          .own_seed = ExchangeSeed(which),
          .peer_seed = ExchangeSeed(OtherOf(which)),
          .rounds = rounds,
          .timeout_ns = static_cast<uint64_t>(absl::ToInt64Nanoseconds(timeout))};
      ABSL_RETURN_IF_ERROR(Selected(side));
      ABSL_RETURN_IF_ERROR(CudaStatus(launch(exchange, which, side), "launch a kernel"));
    }
    FindingsOfBoth found;
    for (const Side which : {Side::kA, Side::kB}) {
      GpuSide& side = sides_[IndexOf(which)];
      ABSL_RETURN_IF_ERROR(Finish(side, "exchange packets"));
      ABSL_ASSIGN_OR_RETURN(found[IndexOf(which)], ReadFindings(side));
    }
    return found;
  }

  std::array<GpuSide, 2> sides_;
  const ByteCount bytes_;
};

absl::StatusOr<GpuSide> MakeSide(int ordinal, const std::string& gpu_uuid,
                                 const PairOptions& options) {
  GpuSide side;
  side.ordinal = ordinal;
  ABSL_ASSIGN_OR_RETURN(side.device, CreateCudaDevice(DeviceIndex{ordinal}));
  if (side.device->facts().gpu_uuid != gpu_uuid) {
    return absl::NotFoundError(absl::StrFormat("CUDA shows GPU %s where %s was asked for",
                                               side.device->facts().gpu_uuid, gpu_uuid));
  }
  for (const Side owner : {Side::kA, Side::kB}) {
    ABSL_ASSIGN_OR_RETURN(UniqueFd fd, CopyOf(options.memory[IndexOf(owner)]));
    ABSL_ASSIGN_OR_RETURN(side.memory[IndexOf(owner)],
                          side.device->MapPlane(std::move(fd), options.bytes));
  }
  ABSL_RETURN_IF_ERROR(Selected(side));
  ABSL_RETURN_IF_ERROR(CudaStatus(LoadProbeKernels(), "load the kernels"));
  ABSL_RETURN_IF_ERROR(
      CudaStatus(cudaStreamCreateWithFlags(&side.stream, cudaStreamNonBlocking), "make a stream"));
  ABSL_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&side.start), "make an event"));
  ABSL_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&side.end), "make an event"));
  void* findings = nullptr;
  ABSL_RETURN_IF_ERROR(CudaStatus(cudaMalloc(&findings, sizeof(Findings)), "allocate memory"));
  side.findings = static_cast<Findings*>(findings);
  return side;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GpuPair>> CreateCudaPair(PairOptions options) {
  const bool is_one_gpu = options.gpu_uuids[0] == options.gpu_uuids[1];
  std::array<GpuSide, 2> sides;
  ABSL_ASSIGN_OR_RETURN(sides[0], MakeSide(0, options.gpu_uuids[0], options));
  ABSL_ASSIGN_OR_RETURN(sides[1], MakeSide(is_one_gpu ? 0 : 1, options.gpu_uuids[1], options));
  return std::make_unique<CudaPair>(std::move(sides), options.bytes);
}

}  // namespace nodecomm::probe
