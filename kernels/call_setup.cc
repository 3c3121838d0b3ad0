#include "kernels/call_setup.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "kernels/plane_layout.h"

namespace nodecomm::kernels {

namespace {

Region ToRegion(const SlotRegion& region, WorldSize world_size) {
  return {.begin = region.begin,
          .half_bytes = region.slot_packets * kPacketBytes * static_cast<size_t>(world_size.value)};
}

}  // namespace

Call CallTemplate(const Binding& binding) {
  const WorldSize ranks = binding.shape.world_size;
  const PlaneLayout layout = LayOutPlane(binding.shape.plane_bytes, ranks);
  Call call = {};
  std::copy(binding.planes.begin(), binding.planes.end(), call.planes);
  call.rank = binding.rank.value;
  call.stop_words = binding.stop_words;
  call.failure = binding.failure;
  call.timeout_ns = binding.timeout_ns;
  call.proves_alone = true;
  call.epoch_regions = {{ToRegion(layout.one_shot_epoch, ranks),
                         ToRegion(layout.scatter_epoch, ranks),
                         ToRegion(layout.gather_epoch, ranks)}};
  return call;
}

CallFacts FactsOf(const Message& message) {
  return {.bytes = message.count * ElementBytes(message.type),
          .type = static_cast<uint32_t>(message.type)};
}

Call CallForChunk(Call call, const Message& message, const Plan& plan, size_t offset, size_t bytes,
                  const GroupShape& shape) {
  const PlaneLayout layout = LayOutPlane(shape.plane_bytes, shape.world_size);
  const bool epoch = plan.format == PacketFormat::kEpoch;
  const SlotRegion& first = plan.algorithm == Algorithm::kOneShot
                                ? (epoch ? layout.one_shot_epoch : layout.one_shot_sentinel)
                                : (epoch ? layout.scatter_epoch : layout.scatter_sentinel);
  call.in = static_cast<const std::byte*>(message.in) + offset;
  call.out = static_cast<std::byte*>(message.out) + offset;
  call.bytes = bytes;
  call.packets = static_cast<uint32_t>(GridPackets(plan, ByteCount{bytes}, shape.world_size));
  call.region = first.begin;
  call.gather_region = (epoch ? layout.gather_epoch : layout.gather_sentinel).begin;
  call.slot_bytes = first.slot_packets * kPacketBytes;
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
  return absl::OkStatus();
}

}  // namespace nodecomm::kernels
