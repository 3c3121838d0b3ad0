#include "kernels/all_reduce_cuda.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "kernels/call_setup.h"
#include "kernels/cuda_status.h"

namespace nodecomm::kernels {

absl::Status AllReduceCalls::Enqueue(const Message& message, cudaStream_t stream) {
  const Code code = CodeFor(message, binding_.checked || !IsBeingCaptured(stream));
  if (IsPlanned(message, code)) [[likely]]
    return EnqueuePlanned(message, stream);
  return PlanAndEnqueue(message, code, stream);
}

// Where that is not known (the legacy stream beside a capture elsewhere), it is not.
bool AllReduceCalls::IsBeingCaptured(cudaStream_t stream) const {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  return kernels_.is_capturing(stream, &status) == CUDA_SUCCESS &&
         status != CU_STREAM_CAPTURE_STATUS_NONE;
}

bool AllReduceCalls::IsPlanned(const Message& message, Code code) const {
  return message.count != 0 && message.count == planned_count_ && message.type == planned_type_ &&
         code == planned_code_ && message.in != nullptr && message.out != nullptr;
}

absl::Status AllReduceCalls::EnqueuePlanned(const Message& message, cudaStream_t stream) {
  planned_.call.in = static_cast<const std::byte*>(message.in);
  planned_.call.out = static_cast<std::byte*>(message.out);
  void* arguments[] = {&planned_.call};
  return Run(planned_.kernel, planned_.grid, arguments, stream);
}

absl::Status AllReduceCalls::PlanAndEnqueue(const Message& message, Code code,
                                            cudaStream_t stream) {
  if (message.count == 0 && !binding_.checked) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(CheckMessage(binding_, message));
  Call call = CallTemplate(binding_);
  if (binding_.checked) {
    CallFacts mine = FactsOf(message);
    void* arguments[] = {&call, &mine};
    ABSL_RETURN_IF_ERROR(Run(kernels_.check, {.blocks = 1, .threads = 1}, arguments, stream));
  }
  if (message.count == 0) return absl::OkStatus();
  const size_t bytes = message.count * ElementBytes(message.type);
  const Plan plan = SelectPlan(ByteCount{bytes}, message.type, binding_.shape);
  planned_count_ = 0;
  // The boundary between kernels orders launches as it orders calls.
  for (size_t offset = 0; offset < bytes; offset += plan.launch_bytes) {
    const size_t part_bytes = std::min(plan.launch_bytes, bytes - offset);
    const LaunchPlan launch = PlanLaunch(plan, ByteCount{part_bytes}, binding_.shape);
    const size_t index =
        LoadedKernels::Index(message.type, plan.algorithm, launch.HasPacketAThread(), code);
    planned_ = {.kernel = kernels_.functions[index],
                .grid = launch.grid,
                .call = CallForLaunch(call, message, launch, offset, part_bytes, binding_.shape)};
    void* arguments[] = {&planned_.call};
    ABSL_RETURN_IF_ERROR(Run(planned_.kernel, planned_.grid, arguments, stream));
  }
  if (binding_.checked || plan.launch_bytes < bytes) return absl::OkStatus();
  planned_count_ = message.count;
  planned_type_ = message.type;
  planned_code_ = code;
  return absl::OkStatus();
}

absl::Status AllReduceCalls::Run(CUfunction kernel, Grid grid, void** arguments,
                                 cudaStream_t stream) const {
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
  config.numAttrs = binding_.compute_capability_major >= 9 ? 1 : 0;
  const CUresult error = kernels_.launch(&config, kernel, arguments, nullptr);
  if (error == CUDA_SUCCESS) [[likely]]
    return absl::OkStatus();
  return CudaStatus(error, absl::StrFormat("launch of an all-reduce kernel of %d x %d", grid.blocks,
                                           grid.threads));
}

}  // namespace nodecomm::kernels
