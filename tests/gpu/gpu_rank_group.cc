#include "tests/gpu/gpu_rank_group.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>

#include "kernels/all_reduce_cuda.h"
#include "kernels/loaded_kernels.h"
#include "kernels/tuning.h"
#include "tests/gpu/cuda_objects.h"
#include "tests/kernels/reference.h"

namespace nodecomm::kernels {
namespace {

constexpr uint8_t kGuard = 0xa5;
constexpr size_t kGuardBytes = 256;
constexpr size_t kBufferBytes = 24u << 20;
constexpr uint64_t kAtOnceTimeoutNs = 20'000'000'000;

// Host memory that the GPU reads and writes.
struct Shared {
  uint32_t stop;
  uint32_t left_mask;
  uint32_t left_epoch[kWorldSizeMax];
  FailureRecord failures[kWorldSizeMax];
};

struct RankState {
  int device = 0;
  int compute_capability_major = 0;
  int compute_capability_minor = 0;
  std::byte* plane = nullptr;
  uint8_t* in = nullptr;
  uint8_t* out = nullptr;
  cudaStream_t stream = nullptr;
  cudaStream_t other_stream = nullptr;
};

bool EnablePeerAccess(int devices) {
  for (int d = 0; d < devices; ++d) {
    CHECK_CUDA(cudaSetDevice(d));
    for (int peer = 0; peer < devices; ++peer) {
      if (peer != d) CHECK_CUDA(cudaDeviceEnablePeerAccess(peer, 0));
    }
  }
  return true;
}

class GpuRankGroup : public RankGroup {
 public:
  GpuRankGroup(const GroupOptions& options, int devices) : options_(options) {
    const int ranks = options.world_size.value;
    const int ranks_per_device = (ranks + devices - 1) / devices;
    // Once a process: enabling it again is an error, which memory checkers report.
    static const bool kPeersEnabled = EnablePeerAccess(devices);
    (void)kPeersEnabled;
    for (int d = 0; d < devices; ++d) {
      CHECK_CUDA(cudaSetDevice(d));
      absl::StatusOr<LoadedKernels> loaded = LoadedKernels::LoadOnCurrentDevice(options.world_size);
      if (!loaded.ok()) {
        std::fprintf(stderr, "%s\n", loaded.status().ToString().c_str());
        std::abort();
      }
      kernels_.push_back(*std::move(loaded));
    }
    for (int r = 0; r < ranks; ++r) {
      RankState state;
      state.device = r % devices;
      CHECK_CUDA(cudaSetDevice(state.device));
      int multiprocessors = 0;
      CHECK_CUDA(
          cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, state.device));
      CHECK_CUDA(cudaDeviceGetAttribute(&state.compute_capability_major,
                                        cudaDevAttrComputeCapabilityMajor, state.device));
      CHECK_CUDA(cudaDeviceGetAttribute(&state.compute_capability_minor,
                                        cudaDevAttrComputeCapabilityMinor, state.device));
      // As the client chooses it for a group.
      const int its = 10 * state.compute_capability_major + state.compute_capability_minor;
      architecture_ = CommonArchitecture(architecture_.value_or(its), its);
      // Two blocks fit on a multiprocessor; ranks that share a GPU must be resident together.
      options_.multiprocessors = std::min(
          options_.multiprocessors,
          ranks_per_device <= 2 ? multiprocessors : 2 * multiprocessors / ranks_per_device);
      CHECK_CUDA(cudaMalloc(reinterpret_cast<void**>(&state.plane), options.plane_bytes.value));
      CHECK_CUDA(cudaMemset(state.plane, 0, options.plane_bytes.value));
      CHECK_CUDA(cudaMalloc(reinterpret_cast<void**>(&state.in), kBufferBytes));
      CHECK_CUDA(cudaMalloc(reinterpret_cast<void**>(&state.out), kBufferBytes));
      CHECK_CUDA(cudaStreamCreateWithFlags(&state.stream, cudaStreamNonBlocking));
      CHECK_CUDA(cudaStreamCreateWithFlags(&state.other_stream, cudaStreamNonBlocking));
      // The driver loads its own memset kernels at first use, which must not be beside a kernel
      // that waits for this rank.
      CHECK_CUDA(cudaMemsetAsync(state.in, kGuard, kBufferBytes, state.stream));
      CHECK_CUDA(cudaMemsetAsync(state.out + 1, kGuard, 1027, state.stream));
      CHECK_CUDA(cudaDeviceSynchronize());
      ranks_.push_back(state);
    }
    CHECK_CUDA(cudaHostAlloc(reinterpret_cast<void**>(&shared_), sizeof(Shared),
                             cudaHostAllocMapped | cudaHostAllocPortable));
    std::memset(shared_, 0, sizeof(Shared));
  }

  ~GpuRankGroup() override {
    for (const RankState& state : ranks_) {
      CHECK_CUDA(cudaSetDevice(state.device));
      CHECK_CUDA(cudaStreamDestroy(state.stream));
      CHECK_CUDA(cudaStreamDestroy(state.other_stream));
      CHECK_CUDA(cudaFree(state.plane));
      CHECK_CUDA(cudaFree(state.in));
      CHECK_CUDA(cudaFree(state.out));
    }
    CHECK_CUDA(cudaFreeHost(shared_));
  }

  std::vector<RankOutcome> Execute(const Run& run) override {
    const int ranks = options_.world_size.value;
    std::vector<RankOutcome> outcomes(static_cast<size_t>(ranks));
    std::atomic<int> begun{0};
    std::vector<std::thread> threads;
    for (int r = 0; r < ranks; ++r) {
      if (std::count(run.absent.begin(), run.absent.end(), r) != 0) continue;
      threads.emplace_back([&, r] {
        while (r == run.delayed && begun.load() < ranks - 1) std::this_thread::yield();
        begun.fetch_add(1);
        outcomes[static_cast<size_t>(r)] = RunRank(Rank{r}, run);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return outcomes;
  }

  std::vector<absl::Status> ExecuteAtOnce(Rank rank, const CallSpec& first,
                                          const CallSpec& second) override {
    const RankState& state = ranks_[static_cast<size_t>(rank.value)];
    CHECK_CUDA(cudaSetDevice(state.device));
    AllReduceCalls calls(KernelsOf(state), MakeBinding(rank, kAtOnceTimeoutNs));
    const auto enqueue = [&](const CallSpec& call, size_t offset, cudaStream_t stream) {
      return calls.Enqueue({.in = state.in + offset,
                            .out = state.out + offset,
                            .count = call.count,
                            .type = call.type},
                           stream);
    };
    Gate gate;
    gate.HoldBack(state.stream);
    gate.HoldBack(state.other_stream);
    std::vector<absl::Status> statuses = {enqueue(first, 0, state.stream),
                                          enqueue(second, kBufferBytes / 2, state.other_stream)};
    gate.Open();
    CHECK_CUDA(cudaStreamSynchronize(state.stream));
    CHECK_CUDA(cudaStreamSynchronize(state.other_stream));
    // Of one rank there is one record; kernels say nothing else.
    for (absl::Status& status : statuses) {
      if (status.ok()) status = KernelStatus(rank);
    }
    return statuses;
  }

  void SetLastEpoch(uint32_t epoch) override {
    const std::vector<BlockState> blocks(kBlocksMax, BlockState{.epoch = {epoch, epoch}});
    for (const RankState& state : ranks_) {
      CHECK_CUDA(cudaMemcpy(state.plane + offsetof(PlaneHeader, block), blocks.data(),
                            blocks.size() * sizeof(BlockState), cudaMemcpyHostToDevice));
    }
  }
  void SetLastEpochOfBlock(int block, uint32_t epoch) override {
    const EpochPair pair = {epoch, epoch};
    for (const RankState& state : ranks_) {
      CHECK_CUDA(cudaMemcpy(state.plane + offsetof(PlaneHeader, block) + block * sizeof(BlockState),
                            &pair, sizeof(pair), cudaMemcpyHostToDevice));
    }
  }
  void SetLastCheck(uint32_t sequence) override {
    const EpochPair check = {sequence, sequence};
    for (const RankState& state : ranks_) {
      CHECK_CUDA(cudaMemcpy(state.plane + offsetof(PlaneHeader, check), &check, sizeof(check),
                            cudaMemcpyHostToDevice));
    }
  }
  void PlantCredits(uint32_t epoch) override {
    const std::vector<uint32_t> words(sizeof(PlaneCredits) / sizeof(epoch), epoch);
    for (const RankState& state : ranks_) {
      CHECK_CUDA(cudaMemcpy(state.plane + kPlaneCreditsBegin, words.data(), sizeof(PlaneCredits),
                            cudaMemcpyHostToDevice));
    }
  }
  size_t CountCredits(uint32_t epoch) override {
    size_t count = 0;
    std::vector<uint32_t> words(sizeof(PlaneCredits) / sizeof(epoch));
    for (const RankState& state : ranks_) {
      CHECK_CUDA(cudaMemcpy(words.data(), state.plane + kPlaneCreditsBegin, sizeof(PlaneCredits),
                            cudaMemcpyDeviceToHost));
      count += static_cast<size_t>(std::count(words.begin(), words.end(), epoch));
    }
    return count;
  }
  void SetStop(uint32_t stop) override { shared_->stop = stop; }
  void SetLeft(Rank rank, uint32_t last_epoch) override {
    shared_->left_epoch[rank.value] = last_epoch;
    shared_->left_mask |= 1u << rank.value;
  }
  FailureRecord Failure(Rank rank) const override { return shared_->failures[rank.value]; }
  uint32_t Epoch(Rank rank) const override {
    std::vector<std::byte> header(kPlaneHeaderBytes);
    CHECK_CUDA(cudaMemcpy(header.data(), ranks_[static_cast<size_t>(rank.value)].plane,
                          header.size(), cudaMemcpyDeviceToHost));
    return LastEpoch(header.data());
  }

 private:
  const LoadedKernels& KernelsOf(const RankState& state) const {
    return kernels_[static_cast<size_t>(state.device)];
  }

  static void CallInGraph(AllReduceCalls& calls, const Message& message, cudaStream_t stream,
                          absl::Status* status) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    *status = calls.Enqueue(message, stream);
    CHECK_CUDA(cudaStreamEndCapture(stream, &graph));
    CHECK_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    CHECK_CUDA(cudaGraphLaunch(executable, stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
    CHECK_CUDA(cudaGraphExecDestroy(executable));
    CHECK_CUDA(cudaGraphDestroy(graph));
  }

  absl::Status KernelStatus(Rank rank) const {
    const std::atomic_ref<uint32_t> state(shared_->failures[rank.value].state);
    return state.load() == FailureRecord::kNone ? absl::OkStatus()
                                                : absl::AbortedError("the kernel gave up");
  }

  Binding MakeBinding(Rank rank, uint64_t timeout_ns) const {
    const RankState& state = ranks_[static_cast<size_t>(rank.value)];
    Binding binding = {.rank = rank,
                       .shape = {.world_size = options_.world_size,
                                 .layout = LayOutPlane(options_.plane_bytes, options_.world_size),
                                 .multiprocessors = options_.multiprocessors,
                                 .architecture = architecture_.value_or(0),
                                 .algorithm_override = options_.algorithm_override},
                       .stop_words = {&shared_->stop, &shared_->left_mask, shared_->left_epoch},
                       .failure = &shared_->failures[rank.value],
                       .timeout_ns = timeout_ns,
                       .checked = options_.checked,
                       .compute_capability_major = state.compute_capability_major};
    for (size_t r = 0; r < ranks_.size(); ++r) binding.planes[r] = ranks_[r].plane;
    return binding;
  }

  RankOutcome RunRank(Rank rank, const Run& run) {
    const size_t self = static_cast<size_t>(rank.value);
    const RankState& state = ranks_[self];
    CHECK_CUDA(cudaSetDevice(state.device));
    AllReduceCalls calls(KernelsOf(state), MakeBinding(rank, run.timeout_ns));
    RankOutcome outcome;
    const std::vector<CallSpec>& specs = CallsOf(run, rank);
    for (size_t c = 0; c < specs.size(); ++c) {
      const CallSpec& call = specs[c];
      const size_t size = ElementBytes(call.type);
      const std::vector<uint8_t> input =
          MakeInput(call.type, call.count, rank, call.seed, call.density);
      const size_t in_begin = kGuardBytes + static_cast<size_t>(call.in_offset[self]) * size;
      const size_t out_begin = kGuardBytes + static_cast<size_t>(call.out_offset[self]) * size;
      const size_t extent = input.size() + 4 * kGuardBytes;
      CHECK_CUDA(cudaMemsetAsync(state.in, kGuard, extent, state.stream));
      CHECK_CUDA(cudaMemsetAsync(state.out, kGuard, extent, state.stream));
      CHECK_CUDA(cudaMemcpyAsync(state.in + in_begin, input.data(), input.size(),
                                 cudaMemcpyHostToDevice, state.stream));
      uint8_t* target = call.in_place[self] ? state.in + in_begin : state.out + out_begin;
      const Message message = {
          .in = state.in + in_begin, .out = target, .count = call.count, .type = call.type};
      if (c % 2 == 0 || call.count == 0) {
        outcome.status = calls.Enqueue(message, state.stream);
      } else {
        CallInGraph(calls, message, state.stream, &outcome.status);
      }
      CHECK_CUDA(cudaStreamSynchronize(state.stream));
      outcome.status.Update(KernelStatus(rank));
      if (!outcome.status.ok()) return outcome;
      std::vector<uint8_t> after(extent);
      CHECK_CUDA(cudaMemcpy(after.data(), call.in_place[self] ? state.in : state.out, extent,
                            cudaMemcpyDeviceToHost));
      const size_t begin = call.in_place[self] ? in_begin : out_begin;
      const auto is_guard = [](uint8_t byte) { return byte == kGuard; };
      const bool intact =
          std::all_of(after.begin(), after.begin() + static_cast<long>(begin), is_guard) &&
          std::all_of(after.begin() + static_cast<long>(begin + input.size()), after.end(),
                      is_guard);
      outcome.guards_broken += intact ? 0 : 1;
      outcome.outputs.emplace_back(after.begin() + static_cast<long>(begin),
                                   after.begin() + static_cast<long>(begin + input.size()));
    }
    return outcome;
  }

  GroupOptions options_;
  std::optional<int> architecture_;     // CommonArchitecture of the ranks' GPUs
  std::vector<LoadedKernels> kernels_;  // of each device
  std::vector<RankState> ranks_;
  Shared* shared_ = nullptr;
};

}  // namespace

std::unique_ptr<RankGroup> MakeGpuRankGroup(const GroupOptions& options, std::string* why_not) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    *why_not = "no GPU";
    return nullptr;
  }
  for (int from = 0; from < devices; ++from) {
    for (int to = 0; to < devices; ++to) {
      int access = 1;
      if (from != to) CHECK_CUDA(cudaDeviceCanAccessPeer(&access, from, to));
      if (access == 0) {
        *why_not = "GPUs of this host cannot access each other";
        return nullptr;
      }
    }
  }
  return std::make_unique<GpuRankGroup>(options, devices);
}

}  // namespace nodecomm::kernels
