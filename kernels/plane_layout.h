// Where things lie in a plane: header, credits, then regions of slots, each in several parts that
// take turns.
// Not shared with the daemon, for which a plane is zeroed bytes. Changing anything here means a new
// kPlaneAbi. Design note: kernels/README.md, "plane".
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "client/base/quantities.h"
#include "kernels/element.h"

namespace nodecomm::kernels {

inline constexpr uint32_t kPlaneAbi = 9;
inline constexpr ByteCount kPlaneBytesMin = 2_MiB;
// The daemon's default (daemon/config), for which tables and tests are made.
inline constexpr ByteCount kPlaneBytesDefault = 36_MiB;

// Most blocks that a grid may have: one state each.
inline constexpr int kBlocksMax = 256;
inline constexpr size_t kPlaneHeaderBytes = 8192;

inline constexpr size_t kPacketBytes = 16;

// One block's place among the calls of its communicator, read as one 8-byte atom. Unequal: a call
// has begun and not ended.
struct alignas(8) EpochPair {
  uint32_t begun;
  uint32_t ended;
};

// What a block looks at as it starts, in one load.
struct alignas(16) BlockState {
  // The epoch of the last call that began, and of the last that ended. Between calls those of all
  // blocks are equal, in both halves. 0 before the first call, never afterwards.
  EpochPair epoch;
  // As the header's: set by who set that one, right behind it.
  uint32_t poison;
  uint32_t reserved;
};

// First bytes of a plane. Written by its owner's kernels only, except `poison`, which any member
// may set, and `check_slots`.
struct PlaneHeader {
  // Non-zero: a kernel gave up; the generation is over and later kernels return at once.
  uint32_t poison;
  // Elects the one thread that writes the failure record.
  uint32_t failure_claimed;
  uint32_t reserved[30];
  BlockState block[kBlocksMax];
  // Of checked mode (call_check.h), otherwise zero: the number of the last call whose check began,
  // and of the last whose check ended; and, written by the others, what each calls, by the number's
  // parity.
  EpochPair check;
  alignas(128) std::byte check_slots[2][kWorldSizeMax][kPacketBytes];
};
static_assert(sizeof(EpochPair) == 8);
static_assert(sizeof(BlockState) == 16);
static_assert(offsetof(PlaneHeader, block) == 128, "on lines of their own");
static_assert(offsetof(PlaneHeader, check) == 4224 && offsetof(PlaneHeader, check_slots) == 4352);
static_assert(offsetof(PlaneHeader, check_slots) % kPacketBytes == 0, "packets are atoms");
static_assert(sizeof(PlaneHeader) <= kPlaneHeaderBytes);

// Behind the header. Written by the peers' kernels: of a call in several chunks, the last chunk
// that a peer's block has finished with, by epoch (device/credit.h). One line of 32 bytes a block.
struct PlaneCredits {
  uint32_t finished[kBlocksMax][kWorldSizeMax];
};
inline constexpr size_t kPlaneCreditsBegin = kPlaneHeaderBytes;
inline constexpr size_t kPlaneRegionsBegin = kPlaneCreditsBegin + sizeof(PlaneCredits);
static_assert(kPlaneRegionsBegin % 128 == 0);

// Parts of a region, by the epoch modulo their number: a power of two. A slot is used again as many
// epochs later. For calls of one epoch each two would do; a message of many chunks is sent ahead of
// what the peers have read by as many chunks.
inline constexpr uint32_t kRegionParts = 4;

// More is of no use to any message, and offsets stay within 32 bits.
inline constexpr size_t kSlotPacketsMax = size_t{4} << 20;
// Slots of a rank that lie side by side, before those of the next rank (kernels/README.md,
// "tried").
inline constexpr uint32_t kSlotsTogether = 512;
// Places for ranks' slots in a part: also the plane's own, which stays empty, so that a rank's
// place is the same in every plane. A power of two: at three ranks, with 3 instead of 4 large
// messages take up to a tenth longer; 5 to 8 ranks are not measured. But between two ranks there is
// one sender.
constexpr uint32_t SlotPlaces(int ranks) {
  return ranks == 2 ? 1 : std::bit_ceil(static_cast<uint32_t>(ranks));
}

// How far behind a part's begin the slots of a message lie, the same for all its launches: by its
// type, and by the bytes in its last packet. So ranks whose calls have as many packets, but are not
// the same, do not take each other's packets for what they wait for: somebody misses some, for as
// long as calls may take. Whole packets begin at multiples of 2 KiB.
uint32_t SlotShift(ElementType type, size_t message_bytes);
// Room for it at the end of each part.
inline constexpr size_t kSlotShiftRoom = 8192;

// The bytes of a part with slots for so many packets of every rank.
constexpr size_t PartBytes(size_t slot_packets, int ranks) {
  return slot_packets * kPacketBytes * SlotPlaces(ranks) + kSlotShiftRoom;
}

// One region: its parts, each with slots for so many packets of every rank (device/call.h), from
// `begin` bytes after the plane's start.
struct SlotRegion {
  size_t begin = 0;
  size_t slot_packets = 0;
};

// Regions are zero between calls.
struct PlaneLayout {
  // One-shot, and the first trip of two-shot.
  SlotRegion first;
  // The second trip of two-shot.
  SlotRegion gather;
};

// `plane` is at least kPlaneBytesMin, `world_size` 1 to kWorldSizeMax; one rank has no regions.
PlaneLayout LayOutPlane(ByteCount plane, WorldSize world_size);

}  // namespace nodecomm::kernels
