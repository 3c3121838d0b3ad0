// The control page of a group: a small file that the daemon writes and every member maps read-only.
// Not a channel from workers to the daemon: they cannot write it. Survives both a daemon's restart
// and a member's death. Design note: daemon/README.md, "control page".
#pragma once

#include <cstddef>
#include <cstdint>

#include "client/base/quantities.h"

namespace nodecomm {

inline constexpr uint32_t kControlPageMagic = 0x7063636e;
inline constexpr uint32_t kControlPageVersion = 1;
inline constexpr size_t kControlPageBytes = 4096;
inline constexpr size_t kControlPageReasonBytes = 512;

// Kernels poll `stop`, `left_mask` and `left_epoch` in place, so the layout is part of the plane
// ABI. The daemon fills in the rest before it writes `stop`, so whoever reads a non-zero `stop`
// (acquire) may read the cause.
struct ControlPage {
  uint32_t magic;
  uint32_t version;
  uint64_t generation;
  // 0: run. Otherwise the generation is over for good, for the reason below.
  alignas(64) uint32_t stop;
  // Bit r: rank r has left, after completing epoch left_epoch[r] (written before the bit).
  uint32_t left_mask;
  uint32_t left_epoch[kWorldSizeMax];
  // The rank and process that caused the stop; -1: none in particular.
  alignas(64) int32_t culprit_rank;
  int32_t culprit_pid;
  // Zero-terminated, for people.
  char reason[kControlPageReasonBytes];
  // All members have confirmed. For a daemon that comes back: the page has its room, also where the
  // disk is full.
  uint32_t ready;
};
static_assert(sizeof(ControlPage) <= kControlPageBytes);
static_assert(offsetof(ControlPage, stop) == 64);
static_assert(offsetof(ControlPage, left_epoch) == 72);

}  // namespace nodecomm
