// Where things lie in a plane: header, epoch words, then a region for each protocol,
// double-buffered. Not shared with the daemon, for which a plane is zeroed bytes. Changing anything
// here means a new kPlaneAbi. Design note: kernels/README.md, "plane".
#pragma once

#include <cstddef>
#include <cstdint>

#include "client/base/quantities.h"

namespace nodecomm::kernels {

inline constexpr uint32_t kPlaneAbi = 1;
inline constexpr ByteCount kPlaneBytesMin = 2_MiB;
inline constexpr ByteCount kPlaneBytesDefault = 36_MiB;

// Most blocks that a grid may have: one epoch word each.
inline constexpr int kBlocksMax = 256;
inline constexpr size_t kPlaneHeaderBytes = 4096;

// A packet is 16 bytes: 12 of data and the epoch that they belong to.
inline constexpr size_t kPacketBytes = 16;
inline constexpr size_t kPacketDataBytes = 12;

// First bytes of a plane. Written by its owner's kernels only, except `poison`, which any member
// may set.
struct PlaneHeader {
  // Non-zero: a kernel gave up; the generation is over and later kernels return at once.
  uint32_t poison;
  // Elects the one thread that writes the failure record.
  uint32_t failure_claimed;
  uint32_t reserved[30];
  // One a block: the epoch of the last call. All are equal between calls. 0 before the first call,
  // never afterwards.
  uint32_t epoch[kBlocksMax];
};
static_assert(sizeof(PlaneHeader) <= kPlaneHeaderBytes);

// Offsets in bytes from the plane's start. A region holds two halves (by epoch parity) of
// world_size slots, one for each sender.
struct PlaneLayout {
  size_t one_shot = 0;
  size_t one_shot_slot_packets = 0;
  size_t scatter = 0;
  size_t gather = 0;
  size_t two_shot_slot_packets = 0;
};

// `plane` is at least kPlaneBytesMin, `world_size` 2 to kWorldSizeMax.
PlaneLayout LayOutPlane(ByteCount plane, WorldSize world_size);

}  // namespace nodecomm::kernels
