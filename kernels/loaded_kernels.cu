#include <string_view>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "kernels/all_reduce_kernels.h"
#include "kernels/call_check.h"
#include "kernels/cuda_status.h"
#include "kernels/device/gpu.cuh"
#include "kernels/driver_function.h"
#include "kernels/loaded_kernels.h"

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
//
// A multiprocessor divides its memory between cache and shared memory, and takes no block of a
// kernel that is to have it otherwise before its last one has ended. Left to choose, the driver
// gives kernels that hardly use shared memory little of it, and each another share: one that waits
// on all multiprocessors then keeps others out, ours and everybody's, for which its peer may wait.
// With all of it as shared memory, all fit beside it (README.md, "Co-residency").
absl::StatusOr<CUfunction> LoadKernel(const void* kernel, std::string_view name,
                                      WorldSize world_size) {
  cudaFuncAttributes attributes;
  cudaFunction_t function = nullptr;
  cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  if (error == cudaSuccess) {
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                 cudaSharedmemCarveoutMaxShared);
  }
  if (error == cudaSuccess) error = cudaGetFuncBySymbol(&function, kernel);
  if (error == cudaSuccess) return function;
  return CudaStatus(error,
                    absl::StrFormat("loading the %s kernel for %d ranks (this build may have "
                                    "no code for this GPU's architecture)",
                                    name, world_size.value));
}

}  // namespace

absl::StatusOr<LoadedKernels> LoadedKernels::LoadOnCurrentDevice(WorldSize world_size) {
  LoadedKernels kernels;
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuLaunchKernelEx", kernels.launch));
  ABSL_RETURN_IF_ERROR(FindDriverFunction("cuStreamIsCapturing", kernels.is_capturing));
  for (const ElementType type :
       {ElementType::kFloat32, ElementType::kFloat16, ElementType::kBfloat16}) {
    for (const Algorithm algorithm : {Algorithm::kOneShot, Algorithm::kTwoShot}) {
      for (const Code code : {Code::kLean, Code::kProven, Code::kFull}) {
        for (const bool packet_a_thread : {false, true}) {
          ABSL_ASSIGN_OR_RETURN(
              kernels.functions[Index(type, algorithm, packet_a_thread, code)],
              LoadKernel(FindKernel(type, algorithm, packet_a_thread, code, world_size),
                         AlgorithmName(algorithm), world_size));
        }
      }
    }
  }
  ABSL_ASSIGN_OR_RETURN(kernels.check, LoadKernel(FindCheck(world_size), "check", world_size));
  return kernels;
}

}  // namespace nodecomm::kernels
