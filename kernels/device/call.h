// The arguments of one launch, and what its threads derive from them: one source for GPU threads
// and host threads. Not the protocols (one_shot.h, two_shot.h), nor the machine instructions
// (gpu.cuh, host.h). Design note: kernels/README.md, "one source".
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/all_reduce.h"
#include "kernels/plane_layout.h"

// In a .cu file the protocols become device functions, in a .cc file host functions.
#ifdef __CUDACC__
#define NODECOMM_KERNEL_FN __device__ __forceinline__
#define NODECOMM_UNROLL _Pragma("unroll")
#else
#define NODECOMM_KERNEL_FN inline
#define NODECOMM_UNROLL
#endif

namespace nodecomm::kernels {

// Two halves of half_bytes each, from begin.
struct Region {
  uint64_t begin;
  uint64_t half_bytes;
};

struct EpochRegions {
  Region region[3];
};

// Plain data, passed by value to the kernel.
struct Call {
  std::byte* planes[kWorldSizeMax];
  const std::byte* in;
  std::byte* out;
  uint64_t bytes;
  int32_t rank;
  // One-shot: packets of the chunk. Two-shot: packets of a shard.
  uint32_t packets;
  // Where slots of the protocol's region begin (one-shot, or two-shot scatter), and two-shot's
  // second region.
  uint64_t region;
  uint64_t gather_region;
  uint64_t slot_bytes;
  StopWords stop_words;
  FailureRecord* failure;
  uint64_t timeout_ns;
  // Whether this launch finds out that another of the same rank runs beside it; costs 0.2 us. The
  // same on all chunks of a call, otherwise anything.
  bool proves_alone;
  // What ClearOtherHalf clears: the regions of packets with epochs.
  EpochRegions epoch_regions;
};

// Which packets a thread takes: first, first + step, ...
struct Lane {
  uint32_t first;
  uint32_t step;
};

// A packet as it lies in memory: one atom. What its words mean is a matter of format.h.
struct alignas(kPacketBytes) Packet {
  uint32_t word[4];
};
static_assert(sizeof(Packet) == kPacketBytes);

// Epochs count 1, 2, ..., 2^32-1, 2, 3, ...: never 0, which fresh memory holds, and parity
// alternates over the wrap too.
NODECOMM_KERNEL_FN uint32_t NextEpoch(uint32_t epoch) {
  return epoch == 0xffffffffu ? 2u : epoch + 1u;
}

// A call's place among the calls of its communicator, as one thread has it.
struct Turn {
  uint32_t epoch;
  // An earlier call of this rank has not ended.
  bool overlaps;
  // Non-zero: the generation is over.
  uint32_t poison;
};

// What a thread finds in the epoch words at its start.
struct FoundEpochs {
  EpochPair own;  // its block's
  // A word of a block that this grid does not have differs from it.
  bool others_differ;
};

// A slot that one large message filled and nobody since keeps its epoch, which comes round after
// 2^32 calls. So twice in that time two calls in a row each clear the half that they do not use; it
// also happens at the second and third call of a group, so that it is no rare path.
NODECOMM_KERNEL_FN bool IsScrubEpoch(uint32_t epoch) {
  const uint32_t low = epoch & 0x7fffffffu;
  return low == 2 || low == 3;
}

// Where `from`'s packet `index` for this call lies in the plane of `to`.
NODECOMM_KERNEL_FN std::byte* SlotAddress(const Call& call, uint64_t region, int to, int from,
                                          uint32_t epoch, int ranks, uint32_t index) {
  const uint64_t slot = (epoch & 1u) * static_cast<uint32_t>(ranks) + static_cast<uint32_t>(from);
  return call.planes[to] + region + slot * call.slot_bytes + uint64_t{index} * kPacketBytes;
}

NODECOMM_KERNEL_FN PlaneHeader* HeaderOf(std::byte* plane) {
  return reinterpret_cast<PlaneHeader*>(plane);
}

}  // namespace nodecomm::kernels
