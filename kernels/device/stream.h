// A thread's way through a message of any number of chunks: which packet it is at, in which chunk,
// and where in that chunk's slots. Not what is done with the packet (one_shot_stream.h,
// two_shot_stream.h). Design note: kernels/README.md, "chunks".
#pragma once

#include <cstdint>

#include "kernels/device/call.h"

namespace nodecomm::kernels {

// Packets that a thread has under way while it waits for one: sent, and not yet summed. The first
// goes out before the launch takes its epochs, the others after that: there the block's threads
// meet, and each would wait until the links have taken all that the others send.
inline constexpr uint32_t kOneShotAhead = 1;
inline constexpr uint32_t kTwoShotAhead = 2;
inline constexpr uint32_t kAheadMax = 2;
static_assert(kOneShotAhead <= kAheadMax && kTwoShotAhead <= kAheadMax);
// But no more than this before it has heard anything in this launch: the less may come unheard, the
// fewer launches have to end with a wait (EndsWithCredit).
inline constexpr uint32_t kUnheardMax = 2;
static_assert(kOneShotAhead + 1 <= kUnheardMax);
// And packets that two-shot sums before it waits for the first of the second trip.
inline constexpr uint32_t kGatherBehind = 1;
// A thread sends its first packet of chunk c + kRegionParts only with the peers' credit for chunk
// c. They give it when they have gone kGatherBehind packets past it, for which they need what is
// sent kAheadMax packets later. So that ranks never wait for each other in a circle, this must be
// before that first packet, also where a chunk gives every thread one packet only.
static_assert(kAheadMax + kGatherBehind <= kRegionParts - 1);

// How far apart in chunks the threads of a block can be. Where one has finished with a chunk, the
// others have sent what came kRegionParts chunks before; and of what a thread has sent it is yet
// to finish with kAheadMax + kGatherBehind + 2 packets at most, each of another chunk at worst. The
// remainder of an epoch tells these chunks apart, also where epochs leave some out.
inline constexpr uint32_t kChunksApartMax = 16;
static_assert(kRegionParts + kAheadMax + kGatherBehind + 2 <= kChunksApartMax - kEpochAfterWrap);

// Before it hears anything a thread sends kUnheardMax packets at most. The last of them lies in
// this chunk of the next launch, or before it. That launch may have shorter chunks than this one,
// but always more than half as many packets a thread (selection.cc).
NODECOMM_KERNEL_FN uint32_t LastChunkUnheard(const Call& call, Lane lane) {
  return call.chunk_packets > kUnheardMax * lane.step ? 0 : kUnheardMax - 1;
}
// Whether a peer may wait for the credit of this chunk: before it sends what comes kRegionParts
// chunks later, in this launch or, unheard, in the next.
NODECOMM_KERNEL_FN bool IsCreditWanted(const Call& call, Lane lane, uint32_t chunk) {
  return chunk + kRegionParts <= call.chunks + LastChunkUnheard(call, lane);
}
// So a launch of so many chunks that the next could send into parts that a peer has yet to read
// ends with the wait for the last of these credits.
NODECOMM_KERNEL_FN bool EndsWithCredit(const Call& call, Lane lane) {
  return IsCreditWanted(call, lane, 0);
}
NODECOMM_KERNEL_FN uint32_t ChunkOfLastCredit(const Call& call, Lane lane) {
  return call.chunks + LastChunkUnheard(call, lane) - kRegionParts;
}

// On a host, where one thread plays the whole grid and each wait is a change of threads, as far as
// a chunk allows (twice, and one more).
template <class Machine>
NODECOMM_KERNEL_FN uint32_t Ahead(const Call& call, uint32_t on_gpu) {
  if constexpr (Machine::kOnePacketALane) return on_gpu;
  constexpr uint32_t kOnHostMax = 1024;
  const uint32_t room = (call.chunk_packets - 1) / 2;
  return room < 1 ? 1 : room > kOnHostMax ? kOnHostMax : room;
}

// A queue that is always full. Its parts are registers, so no index of it is computed.
template <class T, uint32_t kLength>
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
