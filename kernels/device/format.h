// The two ways in which a 16-byte packet says that it has come: by an epoch beside 12 bytes of
// data, or, all 16 bytes being data, by not being zero. Not when a packet is sent or waited for
// (one_shot.h, two_shot.h). Design note: kernels/README.md, "packets".
#pragma once

#include <cstdint>

#include "kernels/device/call.h"
#include "kernels/device/payload.h"

namespace nodecomm::kernels {

// 12 bytes of data and the epoch of the call. Nothing is cleared between calls: what an earlier
// call left has another epoch.
struct EpochFormat {
  static constexpr int kWords = 3;
  static constexpr uint32_t kParts = kEpochParts;

  NODECOMM_KERNEL_FN static Packet Encode(const Payload<kWords>& payload, uint32_t epoch) {
    return {{payload.word[0], payload.word[1], payload.word[2], epoch}};
  }
  NODECOMM_KERNEL_FN static bool Ready(const Packet& packet, uint32_t epoch) {
    return packet.word[3] == epoch;
  }
  NODECOMM_KERNEL_FN static Payload<kWords> Decode(const Packet& packet) {
    return {{packet.word[0], packet.word[1], packet.word[2]}};
  }
  template <class Machine>
  NODECOMM_KERNEL_FN static void Rearm(std::byte*) {}
};

// 16 bytes of data, in two halves that each say for themselves whether they have come, so that
// atoms of 8 bytes are enough. Zero means "not yet": whoever has read a packet puts zero back,
// before the slot's next use two calls later, and a half of zeros travels as a NaN pattern. A half
// that happens to be this pattern travels as another NaN, so every value arrives as it was but for
// the payload of that NaN. Floating point only.
struct SentinelFormat {
  static constexpr int kWords = 4;
  static constexpr uint32_t kParts = kSentinelParts;
  // A NaN as float32 and, twice, as float16 and as bfloat16.
  static constexpr uint32_t kZero = 0x7fa57fa5u;

  NODECOMM_KERNEL_FN static Packet Encode(const Payload<kWords>& payload, uint32_t /*epoch*/) {
    Packet packet = {{payload.word[0], payload.word[1], payload.word[2], payload.word[3]}};
    EncodeHalf(packet.word[0], packet.word[1]);
    EncodeHalf(packet.word[2], packet.word[3]);
    return packet;
  }
  NODECOMM_KERNEL_FN static bool Ready(const Packet& packet, uint32_t /*epoch*/) {
    return (packet.word[0] | packet.word[1]) != 0 && (packet.word[2] | packet.word[3]) != 0;
  }
  NODECOMM_KERNEL_FN static Payload<kWords> Decode(const Packet& packet) {
    Payload<kWords> payload = {{packet.word[0], packet.word[1], packet.word[2], packet.word[3]}};
    DecodeHalf(payload.word[0], payload.word[1]);
    DecodeHalf(payload.word[2], payload.word[3]);
    return payload;
  }
  template <class Machine>
  NODECOMM_KERNEL_FN static void Rearm(std::byte* address) {
    Machine::StorePacket(address, Packet{{0, 0, 0, 0}});
  }

 private:
  NODECOMM_KERNEL_FN static void EncodeHalf(uint32_t& low, uint32_t& high) {
    const bool zero = (low | high) == 0;
    const bool taken = ((low ^ kZero) | (high ^ kZero)) == 0;
    low = zero ? kZero : low;
    high = zero ? kZero : taken ? kZero ^ 1u : high;
  }
  NODECOMM_KERNEL_FN static void DecodeHalf(uint32_t& low, uint32_t& high) {
    const bool zero = ((low ^ kZero) | (high ^ kZero)) == 0;
    low = zero ? 0 : low;
    high = zero ? 0 : high;
  }
};

// Puts the slots that were read back to "not yet", for every peer.
template <class Machine, class Format, int kPeers, class AddressOf>
NODECOMM_KERNEL_FN void RearmSlots(const AddressOf& address_of) {
  NODECOMM_UNROLL
  for (int peer = 0; peer < kPeers; ++peer) Format::template Rearm<Machine>(address_of(peer));
}

}  // namespace nodecomm::kernels
