#include "kernels/plane_layout.h"

#include <algorithm>

namespace nodecomm::kernels {
namespace {

// Hands out the plane behind header and credits, in parts of its usable bytes.
class Cutter {
 public:
  Cutter(ByteCount plane, WorldSize world_size)
      : usable_(plane.value - kPlaneRegionsBegin), ranks_(world_size.value) {}

  SlotRegion Cut(size_t parts_of_64) {
    const size_t part = usable_ / 64 * parts_of_64 / kRegionParts - kSlotShiftRoom;
    const size_t packets = std::min(part / kPacketBytes / SlotPlaces(ranks_), kSlotPacketsMax);
    const SlotRegion region = {.begin = next_,
                               .slot_packets = packets / kSlotsTogether * kSlotsTogether};
    next_ += kRegionParts * PartBytes(region.slot_packets, ranks_);
    return region;
  }

 private:
  size_t usable_;
  int ranks_;
  size_t next_ = kPlaneRegionsBegin;
};

}  // namespace

uint32_t SlotShift(ElementType type, size_t message_bytes) {
  constexpr uint32_t kTypeBytes = 2048;
  // A line, so that what a warp sends is whole lines all the same.
  constexpr uint32_t kLineBytes = 128;
  const auto elements_of_two_bytes = static_cast<uint32_t>(message_bytes % kPacketBytes / 2);
  constexpr uint32_t kMax = 2 * kTypeBytes + (kPacketBytes / 2 - 1) * kLineBytes;
  static_assert((kPacketBytes / 2 - 1) * kLineBytes < kTypeBytes && kMax <= kSlotShiftRoom);
  // Else what one rank sends could lie wholly where others' packets are waited for: the places of a
  // row are as long.
  static_assert(kMax < kSlotsTogether * kPacketBytes);
  switch (type) {
    case ElementType::kBfloat16:
      return elements_of_two_bytes * kLineBytes;
    case ElementType::kFloat16:
      return kTypeBytes + elements_of_two_bytes * kLineBytes;
    case ElementType::kFloat32:
      return 2 * kTypeBytes + elements_of_two_bytes * kLineBytes;
  }
  return 0;
}

PlaneLayout LayOutPlane(ByteCount plane, WorldSize world_size) {
  if (world_size.value == 1) return {};
  // Most goes to what serves large messages: with two ranks one-shot, which then moves no more
  // bytes than two-shot and has a hop less; with more, two-shot.
  const bool pair = world_size.value == 2;
  Cutter cutter(plane, world_size);
  return {.first = cutter.Cut(pair ? 56 : 32), .gather = cutter.Cut(pair ? 8 : 32)};
}

}  // namespace nodecomm::kernels
