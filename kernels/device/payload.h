// Between the caller's buffers and packets: loads and stores of a packet's data at any element
// alignment, with the end of the message cut off. Not sums (sum.h).
// Not shared memory: these are plain accesses to memory that this rank alone uses.
#pragma once

#include <cstdint>

#include "kernels/device/call.h"

namespace nodecomm::kernels {

// The data of a packet in the caller's order: as many float32, or twice as many 16-bit elements.
inline constexpr int kPayloadWords = kPacketBytes / 4;
struct alignas(kPacketBytes) Payload {
  uint32_t word[kPayloadWords];
};

// What of a packet's data lies inside the message, word by word.
template <class Access>
NODECOMM_KERNEL_FN void ForWordsInside(uint64_t offset, uint64_t bytes, const Access& access) {
  NODECOMM_UNROLL
  for (int i = 0; i < kPayloadWords; ++i) {
    if (offset + 4 * i < bytes) access(i);
  }
}

// Whether a payload at `at` is one access.
NODECOMM_KERNEL_FN bool IsVector(const std::byte* at) {
  return reinterpret_cast<uintptr_t>(at) % sizeof(Payload) == 0;
}

// Packet `index` of the caller's input; zeros beyond its end.
template <class Machine, ElementType kType, Code kCode>
NODECOMM_KERNEL_FN Payload LoadPayload(const Call& call, uint32_t index) {
  constexpr bool kWordsOnly = kType == ElementType::kFloat32;
  const uint64_t offset = PacketOffset(index);
  const std::byte* at = call.in + offset;
  const auto* words = reinterpret_cast<const uint32_t*>(at);
  const bool is_whole = index < call.whole_packets;
  Payload payload = {};
  if constexpr (kTakesWholePackets<kCode>) {
    payload = Machine::LoadPayloadIf(is_whole, at);
  } else if (is_whole && IsVector(at)) [[likely]] {
    payload = *reinterpret_cast<const Payload*>(at);
  } else if (is_whole && (kWordsOnly || (reinterpret_cast<uintptr_t>(at) & 3u) == 0)) [[likely]] {
    for (int i = 0; i < kPayloadWords; ++i) payload.word[i] = words[i];
  } else if constexpr (kWordsOnly) {
    ForWordsInside(offset, call.bytes, [&](int i) { payload.word[i] = words[i]; });
  } else {
    for (int i = 0; i < 2 * kPayloadWords; ++i) {
      if (offset + 2 * i < call.bytes) {
        const uint32_t half = reinterpret_cast<const uint16_t*>(at)[i];
        payload.word[i / 2] |= half << (16 * (i % 2));
      }
    }
  }
  return payload;
}

// The same for the output; what lies beyond the end is dropped.
template <ElementType kType, Code kCode>
NODECOMM_KERNEL_FN void StorePayload(const Call& call, uint32_t index, const Payload& payload) {
  constexpr bool kWordsOnly = kType == ElementType::kFloat32;
  const uint64_t offset = PacketOffset(index);
  std::byte* at = call.out + offset;
  auto* words = reinterpret_cast<uint32_t*>(at);
  const bool is_whole = index < call.whole_packets;
  if constexpr (kTakesWholePackets<kCode>) {
    if (is_whole) *reinterpret_cast<Payload*>(at) = payload;
  } else if (is_whole && IsVector(at)) [[likely]] {
    *reinterpret_cast<Payload*>(at) = payload;
  } else if (is_whole && (kWordsOnly || (reinterpret_cast<uintptr_t>(at) & 3u) == 0)) [[likely]] {
    for (int i = 0; i < kPayloadWords; ++i) words[i] = payload.word[i];
  } else if constexpr (kWordsOnly) {
    ForWordsInside(offset, call.bytes, [&](int i) { words[i] = payload.word[i]; });
  } else {
    for (int i = 0; i < 2 * kPayloadWords; ++i) {
      if (offset + 2 * i < call.bytes) {
        reinterpret_cast<uint16_t*>(at)[i] =
            static_cast<uint16_t>(payload.word[i / 2] >> (16 * (i % 2)));
      }
    }
  }
}

}  // namespace nodecomm::kernels
