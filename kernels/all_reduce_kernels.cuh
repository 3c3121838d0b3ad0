// The kernel, and all there are of one type of element: one translation unit a type, since
// they take minutes to compile. To be included by those alone. Not the launch (all_reduce_cuda.cc).
#pragma once

#include "kernels/all_reduce_kernels.h"
#include "kernels/device/gpu.cuh"
#include "kernels/one_shot.h"
#include "kernels/one_shot_stream.h"
#include "kernels/two_shot.h"
#include "kernels/two_shot_stream.h"

namespace nodecomm::kernels {
namespace {

// Two blocks fit on a multiprocessor, with half of its 65,536 registers each, so that the grids of
// two groups on the same GPUs (at most one block a multiprocessor each) are always resident
// together and cannot keep each other from starting.
constexpr int kBlocksPerMultiprocessor = 2;

// Of a block of one group's kernel. Selection gives no launch more (tuning.h).
template <class Protocol, int kRanks>
constexpr int ThreadsMax() {
#if __CUDA_ARCH__ == 900
  if (kRanks == 2 && !Protocol::kMayTakeSeveralChunks) return 1024;
#endif
  return 512;
}

// What:     one launch of an all-reduce; see the protocols for shapes and ordering inside.
// Grid:     PlanLaunch; at most kBlocksMax blocks, each with a packet.
// Ordering: computes addresses, waits for earlier kernels of the stream, and only then touches
//           memory. A short launch lets the next kernel of the stream come and wait beside it once
//           a thread of each block has heard from every peer: all peers' blocks are running by
//           then, and nothing that takes room here can keep them from ending this launch.
// Before:   planes mapped, zero when the group began; one call in flight a communicator, which the
//           epoch words prove in code that does so: a second one fails the generation.
// Failure:  the generation is poisoned; this launch and later ones end soon.
template <class Protocol, int kRanks, Code kCode>
__global__ void __launch_bounds__(ThreadsMax<Protocol, kRanks>(), kBlocksPerMultiprocessor)
    AllReduceKernel(const __grid_constant__ Call call) {
  const Lane lane = {.first = blockIdx.x * blockDim.x + threadIdx.x,
                     .step = gridDim.x * blockDim.x};
  Protocol protocol(call, lane);
  GpuMachine::WaitForEarlierKernels();
  protocol.Prepare();
  if constexpr (Protocol::kMayTakeSeveralChunks || kProvesAlone<kCode>) GpuMachine::ClearCounts();
  const Turn turn = BeginTurn<GpuMachine, kCode>(call);
  Failure failure;
  if (!IsOver(turn)) [[likely]] {
    if (RunTurn<GpuMachine, kRanks>(call, turn, protocol, &failure)) [[likely]] {
      EndTurn<GpuMachine, kCode>(call, turn);
      return;
    }
  } else {
    failure = WhyOver(turn);
    // Where each thread looks at other words, those of a warp may differ in it, and the others are
    // to meet at barriers: these are out of the way only by their exit, and the assembler would let
    // them wait for the others before it.
    if constexpr (kProvesAlone<kCode>) {
      GiveUp<GpuMachine>(call, kRanks, failure);
      return;
    }
  }
  // Behind everything else: code that is jumped over on the way to the first packet costs, too.
  GiveUp<GpuMachine>(call, kRanks, failure);
}

template <template <class, ElementType, int, Code> class Protocol, ElementType kType, int kRanks,
          Code kCode>
const void* Address() {
  return reinterpret_cast<const void*>(
      &AllReduceKernel<Protocol<GpuMachine, kType, kRanks, kCode>, kRanks, kCode>);
}

// For messages of whole packets.
template <template <class, ElementType, int, Code> class Protocol, ElementType kType, int kRanks>
const void* PacketsAddressOf(Code code) {
  return code == Code::kLean ? Address<Protocol, kType, kRanks, Code::kLean>()
                             : Address<Protocol, kType, kRanks, Code::kProven>();
}

template <template <class, ElementType, int, Code> class Protocol, ElementType kType, int kRanks>
const void* AddressOf(Code code) {
  return code == Code::kFull ? Address<Protocol, kType, kRanks, Code::kFull>()
                             : PacketsAddressOf<Protocol, kType, kRanks>(code);
}

// What a stream does in a launch of a packet a thread, a kernel for that does faster; the packets
// are the same. Two-shot of messages that end within a packet is not worth one more.
template <ElementType kType, int kRanks>
const void* FindForRanks(Algorithm algorithm, bool packet_a_thread, Code code) {
  if (algorithm == Algorithm::kTwoShot) {
    if constexpr (kRanks > 2) {
      if (packet_a_thread && code != Code::kFull) {
        return PacketsAddressOf<TwoShot, kType, kRanks>(code);
      }
    }
    return AddressOf<TwoShotStream, kType, kRanks>(code);
  }
  if constexpr (kRanks == 2) {
    if (!packet_a_thread) return AddressOf<OneShotStream, kType, kRanks>(code);
  }
  return AddressOf<OneShot, kType, kRanks>(code);
}

}  // namespace

template <ElementType kType>
const void* FindKernelOfType(Algorithm algorithm, bool packet_a_thread, Code code,
                             WorldSize world_size) {
  static constexpr const void* (*kFinders[])(Algorithm, bool, Code) = {
      FindForRanks<kType, 2>, FindForRanks<kType, 3>, FindForRanks<kType, 4>,
      FindForRanks<kType, 5>, FindForRanks<kType, 6>, FindForRanks<kType, 7>,
      FindForRanks<kType, 8>};
  return kFinders[world_size.value - 2](algorithm, packet_a_thread, code);
}

}  // namespace nodecomm::kernels
