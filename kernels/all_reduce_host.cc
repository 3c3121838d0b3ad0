#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "kernels/all_reduce.h"
#include "kernels/call_setup.h"
#include "kernels/device/host.h"
#include "kernels/device/scrub.h"
#include "kernels/one_shot.h"
#include "kernels/two_shot.h"

namespace nodecomm::kernels {
namespace {

// One host thread plays the whole grid of its rank.
constexpr Lane kWholeGrid = {.first = 0, .step = 1};

using RunFn = bool (*)(const Call& call, const Turn& turn);

template <ElementType kType, int kRanks>
bool RunOneShot(const Call& call, const Turn& turn) {
  return OneShot<HostMachine, kType, kRanks>(call, turn, kWholeGrid);
}

template <ElementType kType, int kRanks>
bool RunTwoShot(const Call& call, const Turn& turn) {
  return TwoShot<HostMachine, kType, kRanks>(call, turn, kWholeGrid);
}

template <ElementType kType>
RunFn Find(Algorithm algorithm, WorldSize world_size) {
  static constexpr RunFn kOneShotFns[] = {
      RunOneShot<kType, 2>, RunOneShot<kType, 3>, RunOneShot<kType, 4>, RunOneShot<kType, 5>,
      RunOneShot<kType, 6>, RunOneShot<kType, 7>, RunOneShot<kType, 8>};
  static constexpr RunFn kTwoShotFns[] = {
      RunTwoShot<kType, 2>, RunTwoShot<kType, 3>, RunTwoShot<kType, 4>, RunTwoShot<kType, 5>,
      RunTwoShot<kType, 6>, RunTwoShot<kType, 7>, RunTwoShot<kType, 8>};
  const int index = world_size.value - 2;
  return algorithm == Algorithm::kOneShot ? kOneShotFns[index] : kTwoShotFns[index];
}

RunFn Find(ElementType type, Algorithm algorithm, WorldSize world_size) {
  switch (type) {
    case ElementType::kFloat32:
      return Find<ElementType::kFloat32>(algorithm, world_size);
    case ElementType::kFloat16:
      return Find<ElementType::kFloat16>(algorithm, world_size);
    case ElementType::kBfloat16:
      return Find<ElementType::kBfloat16>(algorithm, world_size);
  }
  return nullptr;
}

absl::Status AbortedError(const Call& call) {
  return absl::AbortedError(
      absl::StrFormat("rank %d gave up waiting (state %d) for rank %d at call %d", call.rank,
                      HostMachine::LoadAcquire(&call.failure->state), call.failure->missing_rank,
                      call.failure->epoch));
}

absl::Status RunChunk(const Call& call, RunFn run) {
  const Turn turn = BeginTurn<HostMachine>(call, 0);
  if (IsScrubEpoch(turn.epoch)) ClearOtherHalf<HostMachine>(call, turn.epoch, kWholeGrid);
  return run(call, turn) ? absl::OkStatus() : AbortedError(call);
}

}  // namespace

absl::Status AllReduceOnHost(const Binding& binding, const Message& message) {
  if (message.count == 0) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(CheckMessage(binding, message));
  const size_t bytes = message.count * ElementBytes(message.type);
  const Plan plan = SelectPlan(ByteCount{bytes}, message.type, binding.shape);
  const RunFn run = Find(message.type, plan.algorithm, binding.shape.world_size);
  const Call call = CallTemplate(binding);
  for (size_t offset = 0; offset < bytes; offset += plan.chunk_bytes) {
    const size_t chunk = std::min(plan.chunk_bytes, bytes - offset);
    ABSL_RETURN_IF_ERROR(
        RunChunk(CallForChunk(call, message, plan.algorithm, offset, chunk, binding.shape), run));
  }
  return absl::OkStatus();
}

uint32_t LastEpoch(const std::byte* plane_header) {
  uint32_t epoch;
  std::memcpy(&epoch, plane_header + offsetof(PlaneHeader, epoch), sizeof(epoch));
  return epoch;
}

}  // namespace nodecomm::kernels
