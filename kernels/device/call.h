// The arguments of one launch, and what its threads derive from them: one source for GPU threads
// and host threads. Not the protocols (one_shot.h and its neighbours), nor the machine instructions
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
// For loops that wait or are rarely run: their code lies on the way of what is often run.
#define NODECOMM_KEEP_ROLLED _Pragma("unroll 1")
#else
#define NODECOMM_KERNEL_FN inline
#define NODECOMM_UNROLL
#define NODECOMM_KEEP_ROLLED
#endif

namespace nodecomm::kernels {

// Slots of one protocol, or of one of its two trips.
struct Region {
  uint64_t begin;       // from the plane's start
  uint64_t part_bytes;  // of each of its parts, by epoch
  uint64_t slot_bytes;  // in each a slot for every rank but the plane's own
};

// Plain data, passed by value to the kernel.
struct Call {
  std::byte* planes[kWorldSizeMax];
  const std::byte* in;
  std::byte* out;
  uint64_t bytes;
  int32_t rank;
  // Of the launch. One-shot: its packets. Two-shot: the packets of a shard.
  uint32_t packets;
  // The same of one chunk: so many packets share a part of the region. More chunks than one: a
  // multiple of the grid's threads.
  uint32_t chunk_packets;
  uint32_t chunks;
  // Of the message's packets, those that lie wholly inside it.
  uint32_t whole_packets;
  // The protocol's slots (one-shot, or two-shot's first trip), and those of two-shot's second.
  Region region;
  Region gather_region;
  StopWords stop_words;
  FailureRecord* failure;
  uint64_t timeout_ns;
  // Whether this launch finds out that another of the same rank runs beside it; costs 0.2 us. The
  // same on all launches of a call, otherwise anything.
  bool proves_alone;
};

// What a kernel has code for. What it lacks is not on the way of the rest: a launch takes less than
// two microseconds, in which code that is never run costs too. Each rank chooses for itself.
enum class Code {
  // Messages of whole packets in buffers that are as aligned. On GPUs also: a launch that does not
  // prove that it is alone. What replayed graphs of nearly all callers need.
  kLean,
  // Any number of elements at any element's address, and such a proof, decided as it runs.
  kFull,
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

// Epochs count 1, 2, ..., 2^32-1, 4, 5, ...: never 0, which fresh memory holds, and a region's
// parts go on taking turns over the wrap.
inline constexpr uint32_t kEpochAfterWrap = 4;
static_assert(kEpochAfterWrap % kRegionParts == 0);
NODECOMM_KERNEL_FN uint32_t NextEpoch(uint32_t epoch) {
  return epoch == 0xffffffffu ? kEpochAfterWrap : epoch + 1u;
}

// `count` epochs further; `count` is far less than 2^32.
NODECOMM_KERNEL_FN uint32_t EpochAfter(uint32_t epoch, uint32_t count) {
  const uint32_t sum = epoch + count;
  return sum < epoch ? sum + kEpochAfterWrap : sum;
}

// A launch's place among the chunks of its communicator, as one thread has it.
struct Turn {
  // The last chunk's before this launch, then this launch's first and last chunk's.
  uint32_t found;
  uint32_t epoch;
  uint32_t last_epoch;
  // An earlier call of this rank has not ended.
  bool overlaps;
  // Non-zero: the generation is over.
  uint32_t poison;
  // As in the call.
  bool proves_alone;
};

// What a thread finds in the states of blocks at its start.
struct FoundState {
  BlockState own;  // its block's
  // The epochs of a block that this grid does not have differ from it.
  bool others_differ;
};

// The rank `step` behind `self` in the order in which a rank sends: each begins with its neighbour,
// so that no plane is everybody's first.
NODECOMM_KERNEL_FN int RankAfter(int self, int step, int ranks) {
  const int rank = self + step;
  return rank < ranks ? rank : rank - ranks;
}

// A rank's peers are numbered from 0 in rank order; so are the slots of its plane.
NODECOMM_KERNEL_FN int RankOfPeer(int self, int peer) { return peer < self ? peer : peer + 1; }

// Where, in the region's first part, the slot begins that peer `peer` of this rank fills here.
NODECOMM_KERNEL_FN std::byte* SlotFrom(const Call& call, const Region& region, int peer) {
  return call.planes[call.rank] + region.begin + static_cast<uint32_t>(peer) * region.slot_bytes;
}

// And the one that this rank fills in the plane of rank `to`.
NODECOMM_KERNEL_FN std::byte* SlotAt(const Call& call, const Region& region, int to) {
  const uint32_t index = static_cast<uint32_t>(call.rank < to ? call.rank : call.rank - 1);
  return call.planes[to] + region.begin + index * region.slot_bytes;
}

// How far behind the first part an epoch's part lies.
NODECOMM_KERNEL_FN uint64_t PartOffset(const Region& region, uint32_t epoch) {
  static_assert((kRegionParts & (kRegionParts - 1)) == 0);
  return (epoch & (kRegionParts - 1)) * region.part_bytes;
}

NODECOMM_KERNEL_FN uint64_t PacketOffset(uint32_t index) { return uint64_t{index} * kPacketBytes; }

NODECOMM_KERNEL_FN PlaneHeader* HeaderOf(std::byte* plane) {
  return reinterpret_cast<PlaneHeader*>(plane);
}

NODECOMM_KERNEL_FN PlaneCredits* CreditsOf(std::byte* plane) {
  return reinterpret_cast<PlaneCredits*>(plane + kPlaneCreditsBegin);
}

}  // namespace nodecomm::kernels
