// How a 16-byte packet says that it has come: all of it is data, and it is not zero. Not when a
// packet is sent or waited for (one_shot.h, two_shot.h). Design note: kernels/README.md, "packets".
#pragma once

#include <cstdint>

#include "kernels/device/call.h"
#include "kernels/device/payload.h"

namespace nodecomm::kernels {

// A packet is two halves that each say for themselves whether they have come, so that atoms of 8
// bytes are enough. Zero means "not yet": whoever has read a packet puts zero back, before the
// slot's next use. Data travel with some bits inverted, so that of all halves one NaN pattern alone
// would be zero; it travels as another NaN. So every value arrives as it was but for the payload of
// that NaN. Floating point only.

// The bits: a NaN as float32 and, twice, as float16 and as bfloat16.
inline constexpr uint32_t kInverted = 0x7fa57fa5u;

NODECOMM_KERNEL_FN void EncodeHalf(uint32_t& low, uint32_t& high) {
  low ^= kInverted;
  high ^= kInverted;
  if ((low | high) == 0) high = 1;
}

NODECOMM_KERNEL_FN void DecodeHalf(uint32_t& low, uint32_t& high) {
  low ^= kInverted;
  high ^= kInverted;
}

NODECOMM_KERNEL_FN Packet Encode(const Payload& payload) {
  Packet packet = {{payload.word[0], payload.word[1], payload.word[2], payload.word[3]}};
  EncodeHalf(packet.word[0], packet.word[1]);
  EncodeHalf(packet.word[2], packet.word[3]);
  return packet;
}

NODECOMM_KERNEL_FN Payload Decode(const Packet& packet) {
  Payload payload = {{packet.word[0], packet.word[1], packet.word[2], packet.word[3]}};
  DecodeHalf(payload.word[0], payload.word[1]);
  DecodeHalf(payload.word[2], payload.word[3]);
  return payload;
}

NODECOMM_KERNEL_FN bool HasCome(const Packet& packet) {
  return (packet.word[0] | packet.word[1]) != 0 && (packet.word[2] | packet.word[3]) != 0;
}

// Puts the slot that was read back to "not yet".
template <class Machine>
NODECOMM_KERNEL_FN void Rearm(std::byte* slot) {
  Machine::StorePacket(slot, Packet{{0, 0, 0, 0}});
}

}  // namespace nodecomm::kernels
