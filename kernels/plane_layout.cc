#include "kernels/plane_layout.h"

#include <algorithm>

namespace nodecomm::kernels {
namespace {

// Hands out the plane behind header and credits, in parts of its usable bytes.
class Cutter {
 public:
  Cutter(ByteCount plane, WorldSize world_size)
      : usable_(plane.value - kPlaneRegionsBegin), places_(SlotPlaces(world_size.value)) {}

  SlotRegion Cut(size_t parts_of_64) {
    const size_t slots = kRegionParts * places_;
    const size_t packets =
        std::min(usable_ / 64 * parts_of_64 / kPacketBytes / slots, kSlotPacketsMax);
    const SlotRegion region = {.begin = next_,
                               .slot_packets = packets / kSlotsTogether * kSlotsTogether};
    next_ += region.slot_packets * kPacketBytes * slots;
    return region;
  }

 private:
  size_t usable_;
  size_t places_;
  size_t next_ = kPlaneRegionsBegin;
};

}  // namespace

PlaneLayout LayOutPlane(ByteCount plane, WorldSize world_size) {
  if (world_size.value == 1) return {};
  // Most goes to what serves large messages: with two ranks one-shot, which then moves no more
  // bytes than two-shot and has a hop less; with more, two-shot.
  const bool pair = world_size.value == 2;
  Cutter cutter(plane, world_size);
  return {.first = cutter.Cut(pair ? 56 : 32), .gather = cutter.Cut(pair ? 8 : 32)};
}

}  // namespace nodecomm::kernels
