#include "kernels/device/format.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/device/host.h"
#include "tests/kernels/reference.h"

namespace nodecomm::kernels {
namespace {

constexpr uint32_t kTaken = kInverted;

bool Same(const Payload& a, const Payload& b) {
  return a.word[0] == b.word[0] && a.word[1] == b.word[1] && a.word[2] == b.word[2] &&
         a.word[3] == b.word[3];
}

TEST(Format, EveryPayloadIsSeenAndComesBack) {
  const uint32_t words[] = {0u, 1u, 0x80000000u, 0x00008000u, 0x3f800000u, kTaken, kTaken ^ 1u};
  for (const uint32_t a : words) {
    for (const uint32_t b : words) {
      for (const uint32_t c : words) {
        for (const uint32_t d : words) {
          const Payload payload = {{a, b, c, d}};
          const Packet packet = Encode(payload);
          EXPECT_TRUE(HasCome(packet));
          if ((a == kTaken && b == kTaken) || (c == kTaken && d == kTaken)) continue;
          EXPECT_TRUE(Same(Decode(packet), payload));
        }
      }
    }
  }
}

TEST(Format, ThePatternThatZerosStandForStaysANaN) {
  const Payload back = Decode(Encode({{kTaken, kTaken, kTaken, kTaken}}));
  for (const uint32_t word : back.word) {
    EXPECT_TRUE(std::isnan(DecodeElement(ElementType::kFloat32, word)));
    for (const ElementType half : {ElementType::kFloat16, ElementType::kBfloat16}) {
      EXPECT_TRUE(std::isnan(DecodeElement(half, word & 0xffffu)));
      EXPECT_TRUE(std::isnan(DecodeElement(half, word >> 16)));
    }
  }
}

TEST(Format, AHalfThatHasNotComeIsNotReady) {
  Packet packet = Encode({{0, 0, 0, 0}});
  packet.word[2] = packet.word[3] = 0;
  EXPECT_FALSE(HasCome(packet));
  packet = Encode({{1, 2, 3, 4}});
  packet.word[0] = packet.word[1] = 0;
  EXPECT_FALSE(HasCome(packet));
}

TEST(Format, ARearmedSlotIsNotReady) {
  Packet slot = Encode({{1, 2, 3, 4}});
  Rearm<HostMachine>(reinterpret_cast<std::byte*>(&slot));
  EXPECT_FALSE(HasCome(slot));
}

}  // namespace
}  // namespace nodecomm::kernels
