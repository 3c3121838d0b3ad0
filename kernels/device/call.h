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

// Where the packets of one protocol lie, or of one of its two trips.
struct Region {
  uint64_t begin;       // from the plane's start
  uint32_t part_bytes;  // of each of its parts, by epoch
};

// Plain data, passed by value to the kernel.
struct Call {
  // In the order in which this rank sends: its own, then its neighbour's, and so on (RankAfter).
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
  // Of the protocol (one-shot, or two-shot's first trip), and of two-shot's second trip.
  Region region;
  Region gather_region;
  StopWords stop_words;
  FailureRecord* failure;
  uint64_t timeout_ns;
};

// What a kernel has code for. What it lacks is not on the way of the rest: a launch takes less than
// two microseconds, in which code that is never run costs too. Each rank chooses for itself.
enum class Code {
  // Messages of whole packets in buffers that are as aligned, by launches that do not prove that
  // they are alone. What replayed graphs of nearly all callers need.
  kLean,
  // The same with such a proof (turn.h). What eager calls of nearly all callers need.
  kProven,
  // Any number of elements at any element's address, with such a proof.
  kFull,
};
template <Code kCode>
inline constexpr bool kTakesWholePackets = kCode != Code::kFull;
template <Code kCode>
inline constexpr bool kProvesAlone = kCode != Code::kLean;

// Which packets a thread takes: first, first + step, ...
struct Lane {
  uint32_t first;
  uint32_t step;
};

// A thread that waits for nobody of its warp. On a host that is every one.
struct Alone {};

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
  // The epoch of the last chunk before this launch.
  uint32_t found;
  // An earlier call of this rank has not ended.
  bool overlaps;
  // Non-zero: the generation is over.
  uint32_t poison;
};

// Epochs of a launch are computed where they are needed: few are before the first packet.
NODECOMM_KERNEL_FN uint32_t FirstEpoch(const Turn& turn) { return NextEpoch(turn.found); }
NODECOMM_KERNEL_FN uint32_t FinalEpoch(const Call& call, const Turn& turn) {
  return EpochAfter(turn.found, call.chunks);
}

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

// How far behind the first part an epoch's part lies.
NODECOMM_KERNEL_FN uint32_t PartOffset(const Region& region, uint32_t epoch) {
  static_assert((kRegionParts & (kRegionParts - 1)) == 0);
  return (epoch & (kRegionParts - 1)) * region.part_bytes;
}
// The same for a launch's first epoch, in fewer steps: those that epochs leave out make no
// difference.
NODECOMM_KERNEL_FN uint32_t FirstPartOffset(const Region& region, const Turn& turn) {
  static_assert(kEpochAfterWrap % kRegionParts == 0);
  return PartOffset(region, turn.found + 1);
}

// Of a message's packets, where one begins.
NODECOMM_KERNEL_FN uint64_t PacketOffset(uint32_t index) { return uint64_t{index} * kPacketBytes; }

// Slots in a part: those of all ranks for the same kSlotsTogether packets side by side. So what a
// warp sends is whole lines, and a thread finds what all ranks sent it at distances that the
// compiler knows. Between two ranks there is one sender.
template <int kRanks>
inline constexpr uint32_t kSlotPlaces = SlotPlaces(kRanks);
template <int kRanks>
NODECOMM_KERNEL_FN uint64_t SlotOffset(uint32_t index) {
  const uint32_t in_row = index % kSlotsTogether;
  return PacketOffset(index - in_row) * kSlotPlaces<kRanks> + PacketOffset(in_row);
}
// How far behind it rank `from` has its slot.
template <int kRanks>
NODECOMM_KERNEL_FN uint32_t PlaceOffset(int from) {
  return kSlotPlaces<kRanks> == 1 ? 0 : static_cast<uint32_t>(from) * kSlotsTogether * kPacketBytes;
}

// Where packet `index` of this rank goes in any other's plane, in the region's first part.
template <int kRanks>
NODECOMM_KERNEL_FN uint64_t OffsetOut(const Call& call, const Region& region, uint32_t index) {
  return region.begin + SlotOffset<kRanks>(index) + PlaceOffset<kRanks>(call.rank);
}
// And where in its own the slots for what the others send begin.
template <int kRanks>
NODECOMM_KERNEL_FN uint64_t OffsetIn(const Region& region, uint32_t index) {
  return region.begin + SlotOffset<kRanks>(index);
}

// This rank's own plane, and any rank's.
NODECOMM_KERNEL_FN std::byte* OwnPlane(const Call& call) { return call.planes[0]; }
NODECOMM_KERNEL_FN std::byte* PlaneOf(const Call& call, int rank, int ranks) {
  return call.planes[rank < call.rank ? rank - call.rank + ranks : rank - call.rank];
}

NODECOMM_KERNEL_FN PlaneHeader* HeaderOf(std::byte* plane) {
  return reinterpret_cast<PlaneHeader*>(plane);
}

NODECOMM_KERNEL_FN PlaneCredits* CreditsOf(std::byte* plane) {
  return reinterpret_cast<PlaneCredits*>(plane + kPlaneCreditsBegin);
}

}  // namespace nodecomm::kernels
