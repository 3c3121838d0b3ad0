#include "kernels/device/format.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/device/host.h"
#include "tests/kernels/reference.h"

namespace nodecomm::kernels {
namespace {

using Words = Payload<SentinelFormat::kWords>;

constexpr uint32_t kZero = SentinelFormat::kZero;

bool Same(const Words& a, const Words& b) {
  return a.word[0] == b.word[0] && a.word[1] == b.word[1] && a.word[2] == b.word[2] &&
         a.word[3] == b.word[3];
}

TEST(SentinelFormat, EveryPayloadIsSeenAndComesBack) {
  const uint32_t words[] = {0u, 1u, 0x80000000u, 0x00008000u, 0x3f800000u, kZero, kZero ^ 1u};
  for (const uint32_t a : words) {
    for (const uint32_t b : words) {
      for (const uint32_t c : words) {
        for (const uint32_t d : words) {
          const Words payload = {{a, b, c, d}};
          const Packet packet = SentinelFormat::Encode(payload, 1);
          EXPECT_TRUE(SentinelFormat::Ready(packet, 1));
          if ((a == kZero && b == kZero) || (c == kZero && d == kZero)) continue;
          EXPECT_TRUE(Same(SentinelFormat::Decode(packet), payload));
        }
      }
    }
  }
}

TEST(SentinelFormat, TheStandInForZeroStaysANaNIfItIsData) {
  const Words back =
      SentinelFormat::Decode(SentinelFormat::Encode({{kZero, kZero, kZero, kZero}}, 1));
  for (const uint32_t word : back.word) {
    EXPECT_TRUE(std::isnan(DecodeElement(ElementType::kFloat32, word)));
    for (const ElementType half : {ElementType::kFloat16, ElementType::kBfloat16}) {
      EXPECT_TRUE(std::isnan(DecodeElement(half, word & 0xffffu)));
      EXPECT_TRUE(std::isnan(DecodeElement(half, word >> 16)));
    }
  }
}

TEST(SentinelFormat, AHalfThatHasNotComeIsNotReady) {
  Packet packet = SentinelFormat::Encode({{0, 0, 0, 0}}, 1);
  packet.word[2] = packet.word[3] = 0;
  EXPECT_FALSE(SentinelFormat::Ready(packet, 1));
  packet = SentinelFormat::Encode({{1, 2, 3, 4}}, 1);
  packet.word[0] = packet.word[1] = 0;
  EXPECT_FALSE(SentinelFormat::Ready(packet, 1));
}

TEST(SentinelFormat, ARearmedSlotIsNotReady) {
  Packet slot = SentinelFormat::Encode({{1, 2, 3, 4}}, 1);
  SentinelFormat::Rearm<HostMachine>(reinterpret_cast<std::byte*>(&slot));
  EXPECT_FALSE(SentinelFormat::Ready(slot, 1));
}

TEST(EpochFormat, OnlyThisEpochIsReadyAndAnyDataPass) {
  const Packet packet = EpochFormat::Encode({{0, 0xffffffffu, kZero}}, 7);
  EXPECT_TRUE(EpochFormat::Ready(packet, 7));
  EXPECT_FALSE(EpochFormat::Ready(packet, 5));
  const auto back = EpochFormat::Decode(packet);
  EXPECT_EQ(back.word[0], 0u);
  EXPECT_EQ(back.word[1], 0xffffffffu);
  EXPECT_EQ(back.word[2], kZero);
}

}  // namespace
}  // namespace nodecomm::kernels
