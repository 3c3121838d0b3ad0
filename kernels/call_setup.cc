#include "kernels/call_setup.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_format.h"

namespace nodecomm::kernels {

namespace {

Region ToRegion(const SlotRegion& region, uint32_t shift, WorldSize world_size) {
  static_assert(kRegionParts * PartBytes(kSlotPacketsMax, kWorldSizeMax) <= UINT32_MAX);
  return {.begin = region.begin + shift,
          .part_bytes = static_cast<uint32_t>(PartBytes(region.slot_packets, world_size.value))};
}

}  // namespace

Call CallTemplate(const Binding& binding) {
  Call call = {};
  call.rank = binding.rank.value;
  const int ranks = binding.shape.world_size.value;
  for (int step = 0; step < ranks; ++step) {
    call.planes[step] = binding.planes[static_cast<size_t>(RankAfter(call.rank, step, ranks))];
  }
  call.stop_words = binding.stop_words;
  call.failure = binding.failure;
  call.timeout_ns = binding.timeout_ns;
  return call;
}

CallFacts FactsOf(const Message& message) {
  return {.bytes = message.count * ElementBytes(message.type),
          .type = static_cast<uint32_t>(message.type)};
}

Call CallForLaunch(Call call, const Message& message, const LaunchPlan& launch, size_t offset,
                   size_t bytes, const GroupShape& shape) {
  const PlaneLayout& layout = shape.layout;
  call.in = static_cast<const std::byte*>(message.in) + offset;
  call.out = static_cast<std::byte*>(message.out) + offset;
  call.bytes = bytes;
  call.packets = static_cast<uint32_t>(launch.packets);
  call.chunk_packets = static_cast<uint32_t>(launch.chunk_packets);
  call.chunks = static_cast<uint32_t>(launch.chunks);
  call.whole_packets = static_cast<uint32_t>(bytes / kPacketBytes);
  const uint32_t shift = SlotShift(message.type, message.count * ElementBytes(message.type));
  call.region = ToRegion(layout.first, shift, shape.world_size);
  call.gather_region = ToRegion(layout.gather, shift, shape.world_size);
  return call;
}

absl::Status CheckMessage(const Binding& binding, const Message& message) {
  const int ranks = binding.shape.world_size.value;
  if (ranks < 2 || ranks > kWorldSizeMax) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "no kernel for %d ranks; there are kernels for 2 to %d", ranks, kWorldSizeMax));
  }
  if (message.count > 0 && (message.in == nullptr || message.out == nullptr)) {
    return absl::InvalidArgumentError("all-reduce of a null pointer");
  }
  if (message.count > kMessageBytesMax / ElementBytes(message.type)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("all-reduce of %d elements: at most %d bytes are served in one call",
                        message.count, kMessageBytesMax));
  }
  return absl::OkStatus();
}

}  // namespace nodecomm::kernels
