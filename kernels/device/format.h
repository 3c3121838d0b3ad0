// How a 16-byte packet says that it has come: all of it is data, and it is not zero. Not when a
// packet is sent or waited for (one_shot.h, two_shot.h). Design note: kernels/README.md, "packets".
#pragma once

#include <cstdint>

#include "kernels/device/call.h"
#include "kernels/device/payload.h"

namespace nodecomm::kernels {

// A packet is two halves that each say for themselves whether they have come, so that atoms of 8
// bytes are enough. Zero means "not yet": whoever has read a packet puts zero back, before the
// slot's next use, and a half of zeros travels as a NaN pattern. A half that happens to be this
// pattern travels as another NaN, so every value arrives as it was but for the payload of that NaN.
// Floating point only.

// A NaN as float32 and, twice, as float16 and as bfloat16.
inline constexpr uint32_t kStandsForZero = 0x7fa57fa5u;

NODECOMM_KERNEL_FN void EncodeHalf(uint32_t& low, uint32_t& high) {
  const bool zero = (low | high) == 0;
  const bool taken = ((low ^ kStandsForZero) | (high ^ kStandsForZero)) == 0;
  low = zero ? kStandsForZero : low;
  high = zero ? kStandsForZero : taken ? kStandsForZero ^ 1u : high;
}

NODECOMM_KERNEL_FN void DecodeHalf(uint32_t& low, uint32_t& high) {
  const bool zero = ((low ^ kStandsForZero) | (high ^ kStandsForZero)) == 0;
  low = zero ? 0 : low;
  high = zero ? 0 : high;
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

// The same for every peer.
template <class Machine, int kPeers, class AddressOf>
NODECOMM_KERNEL_FN void RearmSlots(const AddressOf& address_of) {
  NODECOMM_UNROLL
  for (int peer = 0; peer < kPeers; ++peer) Rearm<Machine>(address_of(peer));
}

}  // namespace nodecomm::kernels
