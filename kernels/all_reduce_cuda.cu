#include <algorithm>
#include <string_view>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "kernels/all_reduce_cuda.h"
#include "kernels/all_reduce_kernels.h"
#include "kernels/call_check.h"
#include "kernels/call_setup.h"
#include "kernels/device/gpu.cuh"

namespace nodecomm::kernels {
namespace {

// What:     CallCheck, for the call that follows on the stream.
// Grid:     one thread.
// Ordering: as AllReduceKernel, which runs behind it: it finds the own plane poisoned if this gave
// up. Before:   as AllReduceKernel. Failure:  the generation is poisoned.
template <int kRanks>
__global__ void CheckKernel(const __grid_constant__ Call call,
                            const __grid_constant__ CallFacts mine) {
  GpuMachine::WaitForEarlierKernels();
  CallCheck<GpuMachine, kRanks>::Run(call, mine);
}

const void* Find(Algorithm algorithm, bool packet_a_thread, ElementType type, Code code,
                 WorldSize world_size) {
  switch (type) {
    case ElementType::kFloat32:
      return FindKernelOfType<ElementType::kFloat32>(algorithm, packet_a_thread, code, world_size);
    case ElementType::kFloat16:
      return FindKernelOfType<ElementType::kFloat16>(algorithm, packet_a_thread, code, world_size);
    case ElementType::kBfloat16:
      return FindKernelOfType<ElementType::kBfloat16>(algorithm, packet_a_thread, code, world_size);
  }
  return nullptr;
}

const void* FindCheck(WorldSize world_size) {
  static constexpr void (*kChecks[])(Call, CallFacts) = {
      CheckKernel<2>, CheckKernel<3>, CheckKernel<4>, CheckKernel<5>,
      CheckKernel<6>, CheckKernel<7>, CheckKernel<8>};
  return reinterpret_cast<const void*>(kChecks[world_size.value - 2]);
}

// Where that is not known (the legacy stream beside a capture elsewhere), it is not.
bool IsBeingCaptured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(stream, &status) == cudaSuccess &&
         status != cudaStreamCaptureStatusNone;
}

// `arguments`: a pointer to each.
absl::Status Launch(const void* kernel, Grid grid, void** arguments, int compute_capability_major,
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
  if (const cudaError_t error = cudaLaunchKernelExC(&config, kernel, arguments);
      error != cudaSuccess) {
    return absl::InternalError(absl::StrFormat("launch of an all-reduce kernel of %d x %d: %s",
                                               grid.blocks, grid.threads,
                                               cudaGetErrorString(error)));
  }
  return absl::OkStatus();
}

absl::Status LoadKernel(const void* kernel, std::string_view name, WorldSize world_size) {
  // Asking for a kernel's attributes loads it.
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(absl::StrFormat(
      "loading the %s kernel for %d ranks: %s; this build may have no code for this "
      "GPU's architecture",
      name, world_size.value, cudaGetErrorString(error)));
}

}  // namespace

absl::Status LoadKernelsOnCurrentDevice(WorldSize world_size) {
  for (const ElementType type :
       {ElementType::kFloat32, ElementType::kFloat16, ElementType::kBfloat16}) {
    for (const Algorithm algorithm : {Algorithm::kOneShot, Algorithm::kTwoShot}) {
      for (const Code code : {Code::kLean, Code::kFull}) {
        for (const bool packet_a_thread : {false, true}) {
          ABSL_RETURN_IF_ERROR(LoadKernel(Find(algorithm, packet_a_thread, type, code, world_size),
                                          AlgorithmName(algorithm), world_size));
        }
      }
    }
  }
  return LoadKernel(FindCheck(world_size), "check", world_size);
}

absl::Status AllReduceOnStream(const Binding& binding, const Message& message,
                               cudaStream_t stream) {
  if (message.count == 0 && !binding.checked) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(CheckMessage(binding, message));
  Call call = CallTemplate(binding);
  if (binding.checked) {
    CallFacts mine = FactsOf(message);
    void* arguments[] = {&call, &mine};
    ABSL_RETURN_IF_ERROR(Launch(FindCheck(binding.shape.world_size), {.blocks = 1, .threads = 1},
                                arguments, binding.compute_capability_major, stream));
  }
  if (message.count == 0) return absl::OkStatus();
  call.proves_alone = binding.checked || !IsBeingCaptured(stream);
  const size_t bytes = message.count * ElementBytes(message.type);
  const Plan plan = SelectPlan(ByteCount{bytes}, message.type, binding.shape);
  const Code code = call.proves_alone ? Code::kFull : CodeFor(message);
  // The boundary between kernels orders launches as it orders calls.
  for (size_t offset = 0; offset < bytes; offset += plan.launch_bytes) {
    const size_t part_bytes = std::min(plan.launch_bytes, bytes - offset);
    const LaunchPlan launch = PlanLaunch(plan, ByteCount{part_bytes}, binding.shape);
    Call part = CallForLaunch(call, message, launch, offset, part_bytes, binding.shape);
    void* arguments[] = {&part};
    ABSL_RETURN_IF_ERROR(Launch(Find(plan.algorithm, launch.HasPacketAThread(), message.type, code,
                                     binding.shape.world_size),
                                launch.grid, arguments, binding.compute_capability_major, stream));
  }
  return absl::OkStatus();
}

}  // namespace nodecomm::kernels
