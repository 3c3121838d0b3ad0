#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "kernels/all_reduce.h"
#include "kernels/call_check.h"
#include "kernels/call_setup.h"
#include "kernels/device/host.h"
#include "kernels/one_shot.h"
#include "kernels/one_shot_stream.h"
#include "kernels/two_shot.h"
#include "kernels/two_shot_stream.h"

namespace nodecomm::kernels {
namespace {

// One host thread plays the whole grid of its rank.
constexpr Lane kWholeGrid = {.first = 0, .step = 1};
// Here every call proves that it is alone, whatever else its code takes.
constexpr Code kProof = Code::kProven;

using RunFn = bool (*)(const Call& call, const Turn& turn, Failure* failure);

template <class Protocol, int kRanks>
bool RunProtocol(const Call& call, const Turn& turn, Failure* failure) {
  Protocol protocol(call, kWholeGrid);
  protocol.Prepare();
  return RunTurn<HostMachine, kRanks>(call, turn, protocol, failure);
}

template <template <class, ElementType, int, Code> class Protocol, ElementType kType, int kRanks>
RunFn RunOf(Code code) {
  return code == Code::kFull
             ? RunProtocol<Protocol<HostMachine, kType, kRanks, Code::kFull>, kRanks>
             : RunProtocol<Protocol<HostMachine, kType, kRanks, Code::kProven>, kRanks>;
}

// As the kernels are chosen (all_reduce_kernels.cuh).
template <ElementType kType, int kRanks>
RunFn FindForRanks(Algorithm algorithm, bool packet_a_thread, Code code) {
  if (algorithm == Algorithm::kTwoShot) {
    if constexpr (kRanks > 2) {
      if (packet_a_thread && code != Code::kFull) return RunOf<TwoShot, kType, kRanks>(code);
    }
    return RunOf<TwoShotStream, kType, kRanks>(code);
  }
  if constexpr (kRanks == 2) {
    if (!packet_a_thread) return RunOf<OneShotStream, kType, kRanks>(code);
  }
  return RunOf<OneShot, kType, kRanks>(code);
}

template <ElementType kType>
RunFn FindForType(Algorithm algorithm, bool packet_a_thread, Code code, WorldSize world_size) {
  static constexpr RunFn (*kFinders[])(Algorithm, bool, Code) = {
      FindForRanks<kType, 2>, FindForRanks<kType, 3>, FindForRanks<kType, 4>,
      FindForRanks<kType, 5>, FindForRanks<kType, 6>, FindForRanks<kType, 7>,
      FindForRanks<kType, 8>};
  return kFinders[world_size.value - 2](algorithm, packet_a_thread, code);
}

RunFn Find(Algorithm algorithm, bool packet_a_thread, ElementType type, Code code,
           WorldSize world_size) {
  switch (type) {
    case ElementType::kFloat32:
      return FindForType<ElementType::kFloat32>(algorithm, packet_a_thread, code, world_size);
    case ElementType::kFloat16:
      return FindForType<ElementType::kFloat16>(algorithm, packet_a_thread, code, world_size);
    case ElementType::kBfloat16:
      return FindForType<ElementType::kBfloat16>(algorithm, packet_a_thread, code, world_size);
  }
  return nullptr;
}

template <int kRanks>
bool RunCheck(const Call& call, const CallFacts& mine) {
  return CallCheck<HostMachine, kRanks>::Run(call, mine);
}

bool RunCheckForRanks(const Call& call, const CallFacts& mine, WorldSize world_size) {
  static constexpr bool (*kChecks[])(const Call&, const CallFacts&) = {
      RunCheck<2>, RunCheck<3>, RunCheck<4>, RunCheck<5>, RunCheck<6>, RunCheck<7>, RunCheck<8>};
  return kChecks[world_size.value - 2](call, mine);
}

absl::Status AbortedError(const Call& call) {
  // Two calls of a rank that overlap both come here, and one may be writing the record still.
  return absl::AbortedError(absl::StrFormat("rank %d gave up (state %d) at call %d", call.rank,
                                            HostMachine::LoadAcquire(&call.failure->state),
                                            HostMachine::LoadRelaxed(&call.failure->epoch)));
}

absl::Status RunLaunch(const Call& call, RunFn run, int ranks) {
  const Turn turn = BeginTurn<HostMachine, kProof>(call);
  Failure failure;
  bool done = false;
  if (IsOver(turn)) {
    failure = WhyOver(turn);
  } else {
    done = run(call, turn, &failure);
  }
  if (done) {
    EndTurn<HostMachine, kProof>(call, turn);
    return absl::OkStatus();
  }
  GiveUp<HostMachine>(call, ranks, failure);
  return AbortedError(call);
}

}  // namespace

absl::Status AllReduceOnHost(const Binding& binding, const Message& message) {
  if (message.count == 0 && !binding.checked) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(CheckMessage(binding, message));
  const Call call = CallTemplate(binding);
  if (binding.checked && !RunCheckForRanks(call, FactsOf(message), binding.shape.world_size)) {
    return AbortedError(call);
  }
  if (message.count == 0) return absl::OkStatus();
  const size_t bytes = message.count * ElementBytes(message.type);
  const Plan plan = SelectPlan(ByteCount{bytes}, message.type, binding.shape);
  const Code code = CodeFor(message, kProvesAlone<kProof>);
  for (size_t offset = 0; offset < bytes; offset += plan.launch_bytes) {
    const size_t part_bytes = std::min(plan.launch_bytes, bytes - offset);
    const LaunchPlan launch = PlanLaunch(plan, ByteCount{part_bytes}, binding.shape);
    ABSL_RETURN_IF_ERROR(
        RunLaunch(CallForLaunch(call, message, launch, offset, part_bytes, binding.shape),
                  Find(plan.algorithm, launch.HasPacketAThread(), message.type, code,
                       binding.shape.world_size),
                  binding.shape.world_size.value));
  }
  return absl::OkStatus();
}

uint32_t LastEpoch(const std::byte* plane_header) {
  BlockState blocks[kBlocksMax];
  std::memcpy(blocks, plane_header + offsetof(PlaneHeader, block), sizeof(blocks));
  // Blocks of a call that was given up may have ended all the same.
  uint32_t last = blocks[0].epoch.ended;
  for (const BlockState& block : blocks) {
    if (static_cast<int32_t>(block.epoch.ended - last) < 0) last = block.epoch.ended;
  }
  return last;
}

}  // namespace nodecomm::kernels
