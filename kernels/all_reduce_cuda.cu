#include <algorithm>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "kernels/all_reduce_cuda.h"
#include "kernels/call_setup.h"
#include "kernels/device/gpu.cuh"
#include "kernels/device/scrub.h"
#include "kernels/one_shot.h"
#include "kernels/two_shot.h"

namespace nodecomm::kernels {
namespace {

// 512 threads of at most 64 registers: two blocks fit on a multiprocessor, so that the grids of two
// groups on the same GPUs (at most one block a multiprocessor each) are always resident together
// and cannot keep each other from starting.
constexpr int kThreadsMax = 512;
constexpr int kBlocksPerMultiprocessor = 2;

// The thread's first packets, whose loads would otherwise begin only when the epoch is known.
template <Algorithm kAlgorithm, int kRanks>
__device__ __forceinline__ void PrefetchInput(const Call& call, Lane lane) {
  constexpr int kShards = kAlgorithm == Algorithm::kOneShot ? 1 : kRanks;
#pragma unroll
  for (int shard = 0; shard < kShards; ++shard) {
    const uint64_t packet = static_cast<uint64_t>(shard) * call.packets + lane.first;
    if (packet * kPacketDataBytes < call.bytes) {
      GpuMachine::Prefetch(call.in + packet * kPacketDataBytes);
    }
  }
}

// What:     one chunk of an all-reduce; see OneShot and TwoShot for shapes and ordering inside.
// Grid:     SelectGrid; at most kBlocksMax blocks, each with a packet.
// Ordering: waits for earlier kernels of the stream before it touches anything, and never triggers
//           its dependents early: a kernel between two of ours that does not wait itself must find
//           our work done (README.md, "overlapping launches").
// Before:   planes mapped, zero when the group began; one call in flight a communicator.
// Failure:  the generation is poisoned; this launch and later ones end soon.
template <Algorithm kAlgorithm, ElementType kType, int kRanks>
__global__ void __launch_bounds__(kThreadsMax, kBlocksPerMultiprocessor)
    AllReduceKernel(const __grid_constant__ Call call) {
  GpuMachine::WaitForEarlierKernels();
  const Lane lane = {.first = blockIdx.x * blockDim.x + threadIdx.x,
                     .step = gridDim.x * blockDim.x};
  PrefetchInput<kAlgorithm, kRanks>(call, lane);
  const Turn turn = BeginTurn<GpuMachine>(call, blockIdx.x);
  if (IsScrubEpoch(turn.epoch)) {
    ClearOtherHalf<GpuMachine>(call, turn.epoch, lane);
    __threadfence_system();
    __syncthreads();
  }
  if constexpr (kAlgorithm == Algorithm::kOneShot) {
    OneShot<GpuMachine, kType, kRanks>(call, turn, lane);
  } else {
    TwoShot<GpuMachine, kType, kRanks>(call, turn, lane);
  }
  if (IsScrubEpoch(turn.epoch)) __threadfence_system();
}

template <ElementType kType, int kRanks>
const void* Kernel(Algorithm algorithm) {
  if (algorithm == Algorithm::kOneShot) {
    return reinterpret_cast<const void*>(&AllReduceKernel<Algorithm::kOneShot, kType, kRanks>);
  }
  return reinterpret_cast<const void*>(&AllReduceKernel<Algorithm::kTwoShot, kType, kRanks>);
}

template <ElementType kType>
const void* Kernel(Algorithm algorithm, WorldSize world_size) {
  switch (world_size.value) {
    case 2:
      return Kernel<kType, 2>(algorithm);
    case 3:
      return Kernel<kType, 3>(algorithm);
    case 4:
      return Kernel<kType, 4>(algorithm);
    case 5:
      return Kernel<kType, 5>(algorithm);
    case 6:
      return Kernel<kType, 6>(algorithm);
    case 7:
      return Kernel<kType, 7>(algorithm);
    case 8:
      return Kernel<kType, 8>(algorithm);
    default:
      return nullptr;
  }
}

const void* Kernel(ElementType type, Algorithm algorithm, WorldSize world_size) {
  switch (type) {
    case ElementType::kFloat32:
      return Kernel<ElementType::kFloat32>(algorithm, world_size);
    case ElementType::kFloat16:
      return Kernel<ElementType::kFloat16>(algorithm, world_size);
    case ElementType::kBfloat16:
      return Kernel<ElementType::kBfloat16>(algorithm, world_size);
  }
  return nullptr;
}

absl::Status Launch(const void* kernel, Grid grid, const Call& call, int compute_capability_major,
                    cudaStream_t stream) {
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(grid.blocks));
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = compute_capability_major >= 9 ? 1 : 0;
  void* arguments[] = {const_cast<Call*>(&call)};
  if (const cudaError_t error = cudaLaunchKernelExC(&config, kernel, arguments);
      error != cudaSuccess) {
    return absl::InternalError(absl::StrFormat("launch of an all-reduce kernel of %d x %d: %s",
                                               grid.blocks, grid.threads,
                                               cudaGetErrorString(error)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LoadKernelsOnCurrentDevice(WorldSize world_size) {
  for (const ElementType type :
       {ElementType::kFloat32, ElementType::kFloat16, ElementType::kBfloat16}) {
    for (const Algorithm algorithm : {Algorithm::kOneShot, Algorithm::kTwoShot}) {
      // Asking for a kernel's attributes loads it.
      cudaFuncAttributes attributes;
      const cudaError_t error =
          cudaFuncGetAttributes(&attributes, Kernel(type, algorithm, world_size));
      if (error != cudaSuccess) {
        return absl::InternalError(
            absl::StrFormat("loading the %s kernel for %d ranks: %s; this build may have no code "
                            "for this GPU's architecture",
                            AlgorithmName(algorithm), world_size.value, cudaGetErrorString(error)));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status AllReduceOnStream(const Binding& binding, const Message& message,
                               cudaStream_t stream) {
  if (message.count == 0) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(CheckMessage(binding, message));
  const size_t bytes = message.count * ElementBytes(message.type);
  const Plan plan = SelectPlan(ByteCount{bytes}, message.type, binding.shape);
  const void* kernel = Kernel(message.type, plan.algorithm, binding.shape.world_size);
  const Call call = CallTemplate(binding);
  // A launch a chunk: the boundary between kernels orders chunks as it orders calls.
  for (size_t offset = 0; offset < bytes; offset += plan.chunk_bytes) {
    const size_t chunk = std::min(plan.chunk_bytes, bytes - offset);
    ABSL_RETURN_IF_ERROR(
        Launch(kernel, SelectGrid(plan.algorithm, ByteCount{chunk}, binding.shape),
               CallForChunk(call, message, plan.algorithm, offset, chunk, binding.shape),
               binding.compute_capability_major, stream));
  }
  return absl::OkStatus();
}

}  // namespace nodecomm::kernels
