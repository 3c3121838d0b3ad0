// Between the caller's buffers and packets: loads and stores of 12 bytes at any element alignment,
// with the end of the message cut off; and sums of payloads. Not shared memory: these are plain
// accesses to memory that this rank alone uses.
#pragma once

#include <cstdint>

#include "kernels/device/call.h"

namespace nodecomm::kernels {

template <ElementType kType>
inline constexpr int kElementsPerPacket = static_cast<int>(kPacketDataBytes / ElementBytes(kType));

// Packet `index` of the caller's input; zeros beyond its end.
template <ElementType kType>
NODECOMM_KERNEL_FN Payload LoadPayload(const Call& call, uint64_t index) {
  const uint64_t offset = index * kPacketDataBytes;
  Payload payload = {{0, 0, 0}};
  const bool word_aligned = (reinterpret_cast<uintptr_t>(call.in) & 3u) == 0;
  if (offset + kPacketDataBytes <= call.bytes && word_aligned) {
    const uint32_t* words = reinterpret_cast<const uint32_t*>(call.in + offset);
    payload = {{words[0], words[1], words[2]}};
  } else if constexpr (kType == ElementType::kFloat32) {
    for (int i = 0; i < 3; ++i) {
      const uint64_t at = offset + 4 * i;
      if (at < call.bytes) payload.word[i] = *reinterpret_cast<const uint32_t*>(call.in + at);
    }
  } else {
    for (int i = 0; i < 6; ++i) {
      const uint64_t at = offset + 2 * i;
      if (at < call.bytes) {
        const uint32_t half = *reinterpret_cast<const uint16_t*>(call.in + at);
        payload.word[i / 2] |= half << (16 * (i % 2));
      }
    }
  }
  return payload;
}

// The same for the output; what lies beyond the end is dropped.
template <ElementType kType>
NODECOMM_KERNEL_FN void StorePayload(const Call& call, uint64_t index, const Payload& payload) {
  const uint64_t offset = index * kPacketDataBytes;
  const bool word_aligned = (reinterpret_cast<uintptr_t>(call.out) & 3u) == 0;
  if (offset + kPacketDataBytes <= call.bytes && word_aligned) {
    uint32_t* words = reinterpret_cast<uint32_t*>(call.out + offset);
    words[0] = payload.word[0];
    words[1] = payload.word[1];
    words[2] = payload.word[2];
  } else if constexpr (kType == ElementType::kFloat32) {
    for (int i = 0; i < 3; ++i) {
      const uint64_t at = offset + 4 * i;
      if (at < call.bytes) *reinterpret_cast<uint32_t*>(call.out + at) = payload.word[i];
    }
  } else {
    for (int i = 0; i < 6; ++i) {
      const uint64_t at = offset + 2 * i;
      if (at < call.bytes) {
        *reinterpret_cast<uint16_t*>(call.out + at) =
            static_cast<uint16_t>(payload.word[i / 2] >> (16 * (i % 2)));
      }
    }
  }
}

// A sum of payloads in float32. Adding in rank order on every rank gives every rank the same bits.
template <class Machine, ElementType kType>
class PayloadSum {
 public:
  NODECOMM_KERNEL_FN void Set(const Payload& payload) {
    for (int i = 0; i < kElements; ++i) sum_[i] = Element(payload, i);
  }
  NODECOMM_KERNEL_FN void Add(const Payload& payload) {
    for (int i = 0; i < kElements; ++i) sum_[i] += Element(payload, i);
  }
  NODECOMM_KERNEL_FN Payload Round() const {
    Payload payload;
    for (int w = 0; w < 3; ++w) {
      if constexpr (kType == ElementType::kFloat32) {
        payload.word[w] = Machine::BitsOf(sum_[w]);
      } else if constexpr (kType == ElementType::kFloat16) {
        payload.word[w] = Machine::PackFloat16(sum_[2 * w], sum_[2 * w + 1]);
      } else {
        payload.word[w] = Machine::PackBfloat16(sum_[2 * w], sum_[2 * w + 1]);
      }
    }
    return payload;
  }

 private:
  static constexpr int kElements = kElementsPerPacket<kType>;

  NODECOMM_KERNEL_FN static float Element(const Payload& payload, int i) {
    if constexpr (kType == ElementType::kFloat32) {
      return Machine::FloatOf(payload.word[i]);
    } else {
      const uint16_t half = static_cast<uint16_t>(payload.word[i / 2] >> (16 * (i % 2)));
      if constexpr (kType == ElementType::kFloat16) return Machine::Float16ToFloat(half);
      return Machine::FloatOf(static_cast<uint32_t>(half) << 16);
    }
  }

  float sum_[kElements];
};

// The sum of our own payload and the peers' packets, by rank. from[self] is not read.
template <class Machine, ElementType kType, int kRanks>
NODECOMM_KERNEL_FN Payload SumInRankOrder(const Payload& mine, int self,
                                          const Packet (&from)[kRanks]) {
  PayloadSum<Machine, kType> sum;
  NODECOMM_UNROLL
  for (int r = 0; r < kRanks; ++r) {
    const Payload payload =
        r == self ? mine : Payload{{from[r].word[0], from[r].word[1], from[r].word[2]}};
    if (r == 0) {
      sum.Set(payload);
    } else {
      sum.Add(payload);
    }
  }
  return sum.Round();
}

}  // namespace nodecomm::kernels
