#include "kernels/plane_layout.h"

namespace nodecomm::kernels {
namespace {

// Slots start on 4 KiB: a warp stores 512 bytes at once, and sends them fastest if they are
// aligned.
constexpr size_t kSlotPacketsMultiple = 256;

// Hands out the plane behind header and credits, in parts of its usable bytes.
class Cutter {
 public:
  Cutter(ByteCount plane, WorldSize world_size)
      : usable_(plane.value - kPlaneRegionsBegin),
        peers_(static_cast<size_t>(world_size.value - 1)) {}

  SlotRegion Cut(size_t parts_of_64) {
    const size_t slots = kRegionParts * peers_;
    const size_t packets = usable_ / 64 * parts_of_64 / kPacketBytes / slots;
    const SlotRegion region = {
        .begin = next_, .slot_packets = packets / kSlotPacketsMultiple * kSlotPacketsMultiple};
    next_ += region.slot_packets * kPacketBytes * slots;
    return region;
  }

 private:
  size_t usable_;
  size_t peers_;
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
