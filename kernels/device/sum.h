// Sums of what ranks have sent, the same bits on every rank. Not where the data come from or go to
// (payload.h, format.h).
#pragma once

#include <cstdint>

#include "kernels/device/call.h"
#include "kernels/device/format.h"
#include "kernels/device/payload.h"

namespace nodecomm::kernels {

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

// `a` or `b`, word by word: chosen as a whole, both would have addresses, and lie in memory.
template <class Words>
NODECOMM_KERNEL_FN Words Choose(bool first, const Words& a, const Words& b) {
  Words chosen;
  NODECOMM_UNROLL
  for (int i = 0; i < kPayloadWords; ++i) chosen.word[i] = first ? a.word[i] : b.word[i];
  return chosen;
}

// The sum of our own payload and the peers' packets, by rank.
template <class Machine, ElementType kType, int kPeers>
NODECOMM_KERNEL_FN Payload SumInRankOrder(const Payload& mine, int self,
                                          const Packet (&from)[kPeers]) {
  PayloadSum<Machine, kType> sum;
  if constexpr (kPeers == 1 && Machine::kAddCommutes) {
    sum.Set(Decode(from[0]));
    sum.Add(mine);
  } else {
    NODECOMM_UNROLL
    for (int r = 0; r <= kPeers; ++r) {
      // Peers above us are one further down than their ranks.
      const Packet theirs = Choose(r < self, from[r < kPeers ? r : r - 1], from[r > 0 ? r - 1 : 0]);
      const Payload payload = Choose(r == self, mine, Decode(theirs));
      if (r == 0) {
        sum.Set(payload);
      } else {
        sum.Add(payload);
      }
    }
  }
  return sum.Round();
}

}  // namespace nodecomm::kernels
