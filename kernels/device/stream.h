// A thread's way through a message of any number of chunks: which packet it is at, in which chunk,
// and where in that chunk's slots. Not what is done with the packet (one_shot_stream.h,
// two_shot_stream.h). Design note: kernels/README.md, "chunks".
#pragma once

#include <cstdint>

#include "kernels/device/call.h"

namespace nodecomm::kernels {

// Packets that a thread sends before it waits for the first. More keep more bytes on the wire.
inline constexpr int kOneShotAhead = 2;
inline constexpr int kTwoShotAhead = 1;
// And packets that two-shot sums before it waits for the first of the second trip.
inline constexpr int kGatherBehind = 1;
// A chunk of a message of several gives every thread at least so many packets. A thread sends its
// first packet of chunk c+2 only with the peers' credit for chunk c, which they give when they have
// gone kGatherBehind packets past it; so with fewer all ranks could wait for each other. And its
// first packet of chunk 1 it sends after it has received one of chunk 0, so that the peers' calls
// before have ended, and with them their reading of that half.
inline constexpr uint32_t kChunkRowsMin = 3;
static_assert(kChunkRowsMin >= kOneShotAhead + 1 &&
              kChunkRowsMin >= kTwoShotAhead + kGatherBehind + 1);

// On a host, where one thread plays the whole grid and each wait is a change of threads, as far as
// a chunk allows (twice, and one more).
template <class Machine>
NODECOMM_KERNEL_FN uint32_t Ahead(const Call& call, int on_gpu) {
  if constexpr (Machine::kOnePacketALane) return static_cast<uint32_t>(on_gpu);
  constexpr uint32_t kAheadMax = 1024;
  const uint32_t room = (call.chunk_packets - 1) / 2;
  return room < 1 ? 1 : room > kAheadMax ? kAheadMax : room;
}

// A queue that is always full. Its parts are registers, so no index of it is computed.
template <class T, int kLength>
class Queue {
 public:
  NODECOMM_KERNEL_FN T Oldest() const { return oldest_; }
  // Puts in the newest and takes out the oldest.
  NODECOMM_KERNEL_FN T Exchange(const T& newest) {
    const T oldest = oldest_;
    oldest_ = rest_.Exchange(newest);
    return oldest;
  }

 private:
  T oldest_ = {};
  Queue<T, kLength - 1> rest_;
};
template <class T>
class Queue<T, 0> {
 public:
  NODECOMM_KERNEL_FN T Exchange(const T& newest) { return newest; }
};

class Cursor {
 public:
  NODECOMM_KERNEL_FN Cursor(Lane lane, uint32_t epoch)
      : index_(lane.first), slot_index_(lane.first), epoch_(epoch), chunk_(0) {}

  NODECOMM_KERNEL_FN bool AtEnd(const Call& call) const { return index_ >= call.packets; }
  // Of the launch (one-shot) or of a shard (two-shot).
  NODECOMM_KERNEL_FN uint32_t index() const { return index_; }
  NODECOMM_KERNEL_FN uint32_t slot_index() const { return slot_index_; }
  NODECOMM_KERNEL_FN uint32_t epoch() const { return epoch_; }
  NODECOMM_KERNEL_FN uint32_t chunk() const { return chunk_; }
  // At this thread's first packet of the chunk.
  NODECOMM_KERNEL_FN bool BeginsChunk(Lane lane) const { return slot_index_ == lane.first; }

  // True: that was this thread's last packet of the chunk.
  NODECOMM_KERNEL_FN bool Advance(const Call& call, Lane lane) {
    index_ += lane.step;
    slot_index_ += lane.step;
    if (slot_index_ < call.chunk_packets) return false;
    slot_index_ = lane.first;
    epoch_ = NextEpoch(epoch_);
    ++chunk_;
    return true;
  }

 private:
  uint32_t index_;
  uint32_t slot_index_;
  uint32_t epoch_;
  uint32_t chunk_;
};

}  // namespace nodecomm::kernels
