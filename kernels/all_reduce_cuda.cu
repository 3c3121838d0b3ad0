#include <algorithm>
#include <string_view>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "kernels/all_reduce_cuda.h"
#include "kernels/all_reduce_kernels.h"
#include "kernels/call_check.h"
#include "kernels/call_setup.h"
#include "kernels/cuda_status.h"
#include "kernels/device/gpu.cuh"
#include "kernels/driver_function.h"

namespace nodecomm::kernels {
namespace {

// What:     CallCheck, for the call that follows on the stream.
// Grid:     one thread.
// Ordering: as AllReduceKernel, which runs behind it and finds the own plane poisoned if this gave
//           up.
// Before:   as AllReduceKernel.
// Failure:  the generation is poisoned.
template <int kRanks>
__global__ void CheckKernel(const __grid_constant__ Call call,
                            const __grid_constant__ CallFacts mine) {
  GpuMachine::WaitForEarlierKernels();
  CallCheck<GpuMachine, kRanks>::Run(call, mine);
}

const void* FindKernel(ElementType type, Algorithm algorithm, bool packet_a_thread, Code code,
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

// Asking for a kernel's attributes loads it.
absl::StatusOr<CUfunction> LoadKernel(const void* kernel, std::string_view name,
                                      WorldSize world_size) {
  cudaFuncAttributes attributes;
  cudaFunction_t function = nullptr;
  cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  if (error == cudaSuccess) error = cudaGetFuncBySymbol(&function, kernel);
  if (error == cudaSuccess) return function;
  return CudaStatus(error,
                    absl::StrFormat("loading the %s kernel for %d ranks (this build may have "
                                    "no code for this GPU's architecture)",
                                    name, world_size.value));
}

}  // namespace

absl::StatusOr<AllReduceKernels> AllReduceKernels::LoadOnCurrentDevice(WorldSize world_size) {
  AllReduceKernels kernels;
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuLaunchKernelEx", kernels.launch_));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuStreamIsCapturing", kernels.is_capturing_));
  for (const ElementType type :
       {ElementType::kFloat32, ElementType::kFloat16, ElementType::kBfloat16}) {
    for (const Algorithm algorithm : {Algorithm::kOneShot, Algorithm::kTwoShot}) {
      for (const Code code : {Code::kLean, Code::kProven, Code::kFull}) {
        for (const bool packet_a_thread : {false, true}) {
          ABSL_ASSIGN_OR_RETURN(
              kernels.functions_[Index(type, algorithm, packet_a_thread, code)],
              LoadKernel(FindKernel(type, algorithm, packet_a_thread, code, world_size),
                         AlgorithmName(algorithm), world_size));
        }
      }
    }
  }
  ABSL_ASSIGN_OR_RETURN(kernels.check_, LoadKernel(FindCheck(world_size), "check", world_size));
  return kernels;
}

size_t AllReduceKernels::Index(ElementType type, Algorithm algorithm, bool packet_a_thread,
                               Code code) {
  size_t index = static_cast<size_t>(type);
  index = index * 2 + (algorithm == Algorithm::kTwoShot ? 1 : 0);
  index = index * 2 + (packet_a_thread ? 1 : 0);
  return index * 3 + static_cast<size_t>(code);
}

// Where that is not known (the legacy stream beside a capture elsewhere), it is not.
bool AllReduceKernels::IsBeingCaptured(cudaStream_t stream) const {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  return is_capturing_(stream, &status) == CUDA_SUCCESS && status != CU_STREAM_CAPTURE_STATUS_NONE;
}

absl::Status AllReduceKernels::Launch(CUfunction kernel, Grid grid, void** arguments,
                                      const Binding& binding, cudaStream_t stream) const {
  CUlaunchAttribute overlap = {};
  overlap.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  overlap.value.programmaticStreamSerializationAllowed = 1;
  CUlaunchConfig config = {};
  config.gridDimX = static_cast<unsigned>(grid.blocks);
  config.gridDimY = 1;
  config.gridDimZ = 1;
  config.blockDimX = static_cast<unsigned>(grid.threads);
  config.blockDimY = 1;
  config.blockDimZ = 1;
  config.hStream = stream;
  config.attrs = &overlap;
  config.numAttrs = binding.compute_capability_major >= 9 ? 1 : 0;
  const CUresult error = launch_(&config, kernel, arguments, nullptr);
  if (error == CUDA_SUCCESS) [[likely]]
    return absl::OkStatus();
  return CudaStatus(error, absl::StrFormat("launch of an all-reduce kernel of %d x %d", grid.blocks,
                                           grid.threads));
}

absl::Status AllReduceKernels::AllReduceOnStream(const Binding& binding, const Message& message,
                                                 cudaStream_t stream) const {
  if (message.count == 0 && !binding.checked) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(CheckMessage(binding, message));
  Call call = CallTemplate(binding);
  if (binding.checked) {
    CallFacts mine = FactsOf(message);
    void* arguments[] = {&call, &mine};
    ABSL_RETURN_IF_ERROR(Launch(check_, {.blocks = 1, .threads = 1}, arguments, binding, stream));
  }
  if (message.count == 0) return absl::OkStatus();
  const size_t bytes = message.count * ElementBytes(message.type);
  const Plan plan = SelectPlan(ByteCount{bytes}, message.type, binding.shape);
  const Code code = CodeFor(message, binding.checked || !IsBeingCaptured(stream));
  // The boundary between kernels orders launches as it orders calls.
  for (size_t offset = 0; offset < bytes; offset += plan.launch_bytes) {
    const size_t part_bytes = std::min(plan.launch_bytes, bytes - offset);
    const LaunchPlan launch = PlanLaunch(plan, ByteCount{part_bytes}, binding.shape);
    Call part = CallForLaunch(call, message, launch, offset, part_bytes, binding.shape);
    void* arguments[] = {&part};
    ABSL_RETURN_IF_ERROR(
        Launch(functions_[Index(message.type, plan.algorithm, launch.HasPacketAThread(), code)],
               launch.grid, arguments, binding, stream));
  }
  return absl::OkStatus();
}

}  // namespace nodecomm::kernels
