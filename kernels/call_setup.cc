#include "kernels/call_setup.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "kernels/plane_layout.h"

namespace nodecomm::kernels {

Call CallTemplate(const Binding& binding) {
  const PlaneLayout layout = LayOutPlane(binding.shape.plane_bytes, binding.shape.world_size);
  const size_t slots = static_cast<size_t>(binding.shape.world_size.value);
  Call call = {};
  std::copy(binding.planes.begin(), binding.planes.end(), call.planes);
  call.rank = binding.rank.value;
  call.stop_words = binding.stop_words;
  call.failure = binding.failure;
  call.timeout_ns = binding.timeout_ns;
  call.one_shot_begin = layout.one_shot;
  call.one_shot_half_bytes = slots * layout.one_shot_slot_packets * kPacketBytes;
  call.scatter_begin = layout.scatter;
  call.gather_begin = layout.gather;
  call.two_shot_half_bytes = slots * layout.two_shot_slot_packets * kPacketBytes;
  return call;
}

Call CallForChunk(Call call, const Message& message, Algorithm algorithm, size_t offset,
                  size_t bytes, const GroupShape& shape) {
  const size_t slots = static_cast<size_t>(shape.world_size.value);
  call.in = static_cast<const std::byte*>(message.in) + offset;
  call.out = static_cast<std::byte*>(message.out) + offset;
  call.bytes = bytes;
  if (algorithm == Algorithm::kOneShot) {
    call.packets = static_cast<uint32_t>((bytes + kPacketDataBytes - 1) / kPacketDataBytes);
    call.region = call.one_shot_begin;
    call.slot_bytes = call.one_shot_half_bytes / slots;
  } else {
    call.packets = static_cast<uint32_t>(ShardPackets(ByteCount{bytes}, shape.world_size));
    call.region = call.scatter_begin;
    call.gather_region = call.gather_begin;
    call.slot_bytes = call.two_shot_half_bytes / slots;
  }
  return call;
}

absl::Status CheckMessage(const Binding& binding, const Message& message) {
  const int ranks = binding.shape.world_size.value;
  if (ranks < 2 || ranks > kWorldSizeMax) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "no kernel for %d ranks; there are kernels for 2 to %d", ranks, kWorldSizeMax));
  }
  if (message.in == nullptr || message.out == nullptr) {
    return absl::InvalidArgumentError("all-reduce of a null pointer");
  }
  return absl::OkStatus();
}

}  // namespace nodecomm::kernels
