#include "kernels/plane_layout.h"

namespace nodecomm::kernels {
namespace {

// Slots start on their own 128-byte line.
constexpr size_t kSlotPacketsMultiple = 8;

size_t SlotPackets(size_t region_bytes, int slots) {
  const size_t packets = region_bytes / kPacketBytes / static_cast<size_t>(slots);
  return packets / kSlotPacketsMultiple * kSlotPacketsMultiple;
}

}  // namespace

PlaneLayout LayOutPlane(ByteCount plane, WorldSize world_size) {
  // The smaller share is an eighth. With two ranks one-shot moves no more bytes than two-shot and
  // serves every size; with more, it serves small messages only.
  const size_t usable = plane.value - kPlaneHeaderBytes;
  const size_t one_shot_bytes = world_size.value == 2 ? usable / 8 * 7 : usable / 8;
  const size_t two_shot_bytes = (usable - one_shot_bytes) / 2;
  const int slots = 2 * world_size.value;
  PlaneLayout layout;
  layout.one_shot = kPlaneHeaderBytes;
  layout.one_shot_slot_packets = SlotPackets(one_shot_bytes, slots);
  layout.scatter = layout.one_shot + layout.one_shot_slot_packets * kPacketBytes * slots;
  layout.two_shot_slot_packets = SlotPackets(two_shot_bytes, slots);
  layout.gather = layout.scatter + layout.two_shot_slot_packets * kPacketBytes * slots;
  return layout;
}

}  // namespace nodecomm::kernels
