// Sums of what ranks have sent, the same bits on every rank. Not where the data come from or go to
// (payload.h, format.h).
#pragma once

#include <cstdint>

#include "kernels/device/call.h"
#include "kernels/device/format.h"
#include "kernels/device/payload.h"
#include "kernels/device/rank_packets.h"

namespace nodecomm::kernels {

// A sum of payloads in float32.
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
    for (int w = 0; w < kPayloadWords; ++w) {
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
  static constexpr int kElements =
      kType == ElementType::kFloat32 ? kPayloadWords : 2 * kPayloadWords;

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

// The sum of all ranks' packets.
template <class Machine, ElementType kType, int kRanks>
NODECOMM_KERNEL_FN Payload SumOf(const RankPackets<Machine, kRanks>& packets) {
  PayloadSum<Machine, kType> sum;
  sum.Set(Decode(packets[0]));
  NODECOMM_UNROLL
  for (int place = 1; place < kRanks; ++place) sum.Add(Decode(packets[place]));
  return sum.Round();
}

}  // namespace nodecomm::kernels
