// Between the caller's buffers and packets: loads and stores of a packet's data at any element
// alignment, with the end of the message cut off; and sums of payloads.
// Not shared memory: these are plain accesses to memory that this rank alone uses.
#pragma once

#include <cstdint>

#include "kernels/device/call.h"

namespace nodecomm::kernels {

// The data of a packet in the caller's order: kWords float32, or twice as many 16-bit elements.
template <int kWords>
struct Payload {
  uint32_t word[kWords];
};

struct alignas(16) FourWords {
  uint32_t word[kPacketBytes / 4];
};

// What of a packet's data lies inside the message, word by word.
template <class Access>
NODECOMM_KERNEL_FN void ForWordsInside(uint64_t offset, uint64_t bytes, int words,
                                       const Access& access) {
  NODECOMM_UNROLL
  for (int i = 0; i < words; ++i) {
    if (offset + 4 * i < bytes) access(i);
  }
}

// Whether four words at `at` are one access.
template <Code kCode>
NODECOMM_KERNEL_FN bool IsVector(const std::byte* at) {
  return kCode == Code::kLean || reinterpret_cast<uintptr_t>(at) % sizeof(FourWords) == 0;
}

// Packet `index` of the caller's input; zeros beyond its end.
template <ElementType kType, int kWords, Code kCode>
NODECOMM_KERNEL_FN Payload<kWords> LoadPayload(const Call& call, uint32_t index) {
  constexpr uint64_t kBytes = 4 * kWords;
  constexpr bool kWordsOnly = kCode == Code::kLean || kType == ElementType::kFloat32;
  const uint64_t offset = index * kBytes;
  const std::byte* at = call.in + offset;
  const auto* words = reinterpret_cast<const uint32_t*>(at);
  const bool is_whole = index < call.whole_packets;
  Payload<kWords> payload = {};
  if (kWords == 4 && is_whole && IsVector<kCode>(at)) [[likely]] {
    const FourWords four = *reinterpret_cast<const FourWords*>(at);
    for (int i = 0; i < kWords; ++i) payload.word[i] = four.word[i];
  } else if (is_whole && (kWordsOnly || (reinterpret_cast<uintptr_t>(at) & 3u) == 0)) [[likely]] {
    for (int i = 0; i < kWords; ++i) payload.word[i] = words[i];
  } else if constexpr (kWordsOnly) {
    ForWordsInside(offset, call.bytes, kWords, [&](int i) { payload.word[i] = words[i]; });
  } else {
    for (int i = 0; i < 2 * kWords; ++i) {
      if (offset + 2 * i < call.bytes) {
        const uint32_t half = reinterpret_cast<const uint16_t*>(at)[i];
        payload.word[i / 2] |= half << (16 * (i % 2));
      }
    }
  }
  return payload;
}

// The same for the output; what lies beyond the end is dropped.
template <ElementType kType, Code kCode, int kWords>
NODECOMM_KERNEL_FN void StorePayload(const Call& call, uint32_t index,
                                     const Payload<kWords>& payload) {
  constexpr uint64_t kBytes = 4 * kWords;
  constexpr bool kWordsOnly = kCode == Code::kLean || kType == ElementType::kFloat32;
  const uint64_t offset = index * kBytes;
  std::byte* at = call.out + offset;
  auto* words = reinterpret_cast<uint32_t*>(at);
  const bool is_whole = index < call.whole_packets;
  if (kWords == 4 && is_whole && IsVector<kCode>(at)) [[likely]] {
    FourWords four;
    for (int i = 0; i < kWords; ++i) four.word[i] = payload.word[i];
    *reinterpret_cast<FourWords*>(at) = four;
  } else if (is_whole && (kWordsOnly || (reinterpret_cast<uintptr_t>(at) & 3u) == 0)) [[likely]] {
    for (int i = 0; i < kWords; ++i) words[i] = payload.word[i];
  } else if constexpr (kWordsOnly) {
    ForWordsInside(offset, call.bytes, kWords, [&](int i) { words[i] = payload.word[i]; });
  } else {
    for (int i = 0; i < 2 * kWords; ++i) {
      if (offset + 2 * i < call.bytes) {
        reinterpret_cast<uint16_t*>(at)[i] =
            static_cast<uint16_t>(payload.word[i / 2] >> (16 * (i % 2)));
      }
    }
  }
}

// A sum of payloads in float32. Adding in rank order on every rank gives every rank the same bits.
template <class Machine, ElementType kType, int kWords>
class PayloadSum {
 public:
  NODECOMM_KERNEL_FN void Set(const Payload<kWords>& payload) {
    for (int i = 0; i < kElements; ++i) sum_[i] = Element(payload, i);
  }
  NODECOMM_KERNEL_FN void Add(const Payload<kWords>& payload) {
    for (int i = 0; i < kElements; ++i) sum_[i] += Element(payload, i);
  }
  NODECOMM_KERNEL_FN Payload<kWords> Round() const {
    Payload<kWords> payload;
    for (int w = 0; w < kWords; ++w) {
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
  static constexpr int kElements = kType == ElementType::kFloat32 ? kWords : 2 * kWords;

  NODECOMM_KERNEL_FN static float Element(const Payload<kWords>& payload, int i) {
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

template <int kWords>
NODECOMM_KERNEL_FN void ChooseWords(bool first, const uint32_t (&a)[kWords],
                                    const uint32_t (&b)[kWords], uint32_t (&chosen)[kWords]) {
  NODECOMM_UNROLL
  for (int i = 0; i < kWords; ++i) chosen[i] = first ? a[i] : b[i];
}

// `a` or `b`, word by word: chosen as a whole, both would have addresses, and lie in memory.
template <class Words>
NODECOMM_KERNEL_FN Words Choose(bool first, const Words& a, const Words& b) {
  Words chosen;
  ChooseWords(first, a.word, b.word, chosen.word);
  return chosen;
}

// The sum of our own payload and the peers' packets, by rank.
template <class Machine, class Format, ElementType kType, int kPeers>
NODECOMM_KERNEL_FN Payload<Format::kWords> SumInRankOrder(const Payload<Format::kWords>& mine,
                                                          int self, const Packet (&from)[kPeers]) {
  PayloadSum<Machine, kType, Format::kWords> sum;
  NODECOMM_UNROLL
  for (int r = 0; r <= kPeers; ++r) {
    // Peers above us are one further down than their ranks.
    const Packet theirs = Choose(r < self, from[r < kPeers ? r : r - 1], from[r > 0 ? r - 1 : 0]);
    const Payload<Format::kWords> payload = Choose(r == self, mine, Format::Decode(theirs));
    if (r == 0) {
      sum.Set(payload);
    } else {
      sum.Add(payload);
    }
  }
  return sum.Round();
}

}  // namespace nodecomm::kernels
