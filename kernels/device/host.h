// The machine of the simulated platform: the same operations as gpu.cuh, on host threads.
// Not fast: it stands for a GPU in CI, and shows the protocol to ThreadSanitizer.
// Design note: kernels/README.md, "one source".
#pragma once

#include <sched.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "kernels/device/call.h"
#include "kernels/device/payload.h"
#include "kernels/float_conversion.h"

namespace nodecomm::kernels {

struct HostMachine {
  // A turn here is a yield, so a check is cheap beside it.
  static constexpr uint32_t kTurnsPerCheck = 64;

  // There are no 16-byte atoms on every host, and each half says for itself that it has come. The
  // order of the second is what boundaries between kernels are on a GPU: who has read it comes
  // behind all that its sender re-armed before.
  static void StorePacket(std::byte* address, const Packet& packet) {
    uint64_t half[2];
    std::memcpy(half, &packet, sizeof(half));
    uint64_t* words = reinterpret_cast<uint64_t*>(address);
    std::atomic_ref<uint64_t>(words[0]).store(half[0], std::memory_order_relaxed);
    std::atomic_ref<uint64_t>(words[1]).store(half[1], std::memory_order_release);
  }
  static Packet LoadPacket(const std::byte* address) {
    uint64_t half[2];
    // As in Load.
    uint64_t* words = reinterpret_cast<uint64_t*>(const_cast<std::byte*>(address));
    half[1] = std::atomic_ref<uint64_t>(words[1]).load(std::memory_order_acquire);
    half[0] = std::atomic_ref<uint64_t>(words[0]).load(std::memory_order_relaxed);
    Packet packet;
    std::memcpy(&packet, half, sizeof(packet));
    return packet;
  }
  static void LoadPacketIf(bool wanted, const std::byte* address, Packet* packet) {
    if (wanted) *packet = LoadPacket(address);
  }

  static Payload LoadPayloadIf(bool wanted, const std::byte* at) {
    Payload payload = {};
    if (wanted) payload = *reinterpret_cast<const Payload*>(at);
    return payload;
  }

  static uint32_t LoadRelaxed(const uint32_t* word) {
    return Load(word, std::memory_order_relaxed);
  }
  static uint32_t LoadAcquire(const uint32_t* word) {
    return Load(word, std::memory_order_acquire);
  }
  static void StoreRelaxed(uint32_t* word, uint32_t value) {
    std::atomic_ref<uint32_t>(*word).store(value, std::memory_order_relaxed);
  }
  static void StoreRelaxed(uint64_t* word, uint64_t value) {
    std::atomic_ref<uint64_t>(*word).store(value, std::memory_order_relaxed);
  }
  static void StoreRelease(uint32_t* word, uint32_t value) {
    std::atomic_ref<uint32_t>(*word).store(value, std::memory_order_release);
  }
  static EpochPair LoadRelaxed(const EpochPair* pair) {
    return std::atomic_ref<EpochPair>(*const_cast<EpochPair*>(pair))
        .load(std::memory_order_relaxed);
  }
  static void StoreRelaxed(EpochPair* pair, EpochPair value) {
    std::atomic_ref<EpochPair>(*pair).store(value, std::memory_order_relaxed);
  }
  // The other half is as it was found, or there is an overlap, which the result shows.
  static uint32_t ExchangeBegun(EpochPair* pair, uint32_t epoch) {
    EpochPair old = LoadRelaxed(pair);
    const std::atomic_ref<EpochPair> atom(*pair);
    while (!atom.compare_exchange_weak(old, {epoch, old.ended}, std::memory_order_relaxed)) {
    }
    return old.begun;
  }
  static bool ClaimOnce(uint32_t* word) {
    return std::atomic_ref<uint32_t>(*word).exchange(1, std::memory_order_acq_rel) == 0;
  }

  static Alone Together() { return {}; }
  static void Meet(Alone /*group*/) {}
  static bool AllOf(Alone /*group*/, bool mine) { return mine; }
  static int LargestOf(Alone /*group*/, int mine) { return mine; }

  static void Pause() { sched_yield(); }
  static uint64_t NowNs() {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                     std::chrono::steady_clock::now().time_since_epoch())
                                     .count());
  }

  // One thread plays the whole grid.
  static constexpr bool kOnePacketALane = false;
  static void AllowNextKernel() {}
  static void KeepReady(uint64_t&) {}
  static uint32_t BlockIndex() { return 0; }
  // The store orders itself: ThreadSanitizer knows no fences.
  static void FenceOwnMemory() {}
  static void StoreBehindFence(uint32_t* word, uint32_t value) { StoreRelease(word, value); }
  static void FenceBlock() {}
  static bool IsLastOfBlock(uint32_t /*epoch*/) { return true; }
  static void ClearCredits(PlaneCredits* credits) {
    for (auto& block : credits->finished) {
      for (uint32_t& epoch : block) StoreRelaxed(&epoch, 0);
    }
  }

  // This thread is block 0, and the only one.
  static FoundState FindState(const PlaneHeader* header, bool with_others) {
    const EpochPair own = LoadRelaxed(&header->block[0].epoch);
    FoundState found = {.own = {.epoch = own, .poison = LoadRelaxed(&header->block[0].poison)},
                        .others_differ = false};
    if (!with_others) return found;
    for (int word = 1; word < kBlocksMax; ++word) {
      const EpochPair other = LoadRelaxed(&header->block[word].epoch);
      found.others_differ |= other.begun != own.begun || other.ended != own.begun;
    }
    return found;
  }
  static void AdvanceEpochs(PlaneHeader* header, uint32_t epoch) {
    for (BlockState& block : header->block) StoreRelaxed(&block.epoch, {epoch, epoch});
  }
  static bool TakeEpoch(PlaneHeader* header, uint32_t found, uint32_t epoch) {
    for (int word = 1; word < kBlocksMax; ++word) {
      StoreRelaxed(&header->block[word].epoch, {epoch, epoch});
    }
    return ExchangeBegun(&header->block[0].epoch, epoch) == found;
  }
  static void EndEpoch(PlaneHeader* header, uint32_t epoch) {
    StoreRelaxed(&header->block[0].epoch, {epoch, epoch});
  }

  // The sum of two NaNs is the first.
  static constexpr bool kAddCommutes = false;
  static float FloatOf(uint32_t bits) { return std::bit_cast<float>(bits); }
  static uint32_t BitsOf(float value) { return std::bit_cast<uint32_t>(value); }
  static float Float16ToFloat(uint16_t half) { return kernels::Float16ToFloat(half); }
  static uint32_t PackFloat16(float low, float high) {
    return FloatToFloat16(low) | static_cast<uint32_t>(FloatToFloat16(high)) << 16;
  }
  static uint32_t PackBfloat16(float low, float high) {
    return FloatToBfloat16(low) | static_cast<uint32_t>(FloatToBfloat16(high)) << 16;
  }

 private:
  static uint32_t Load(const uint32_t* word, std::memory_order order) {
    // atomic_ref of a const object comes with C++26 only; a load does not write.
    return std::atomic_ref<uint32_t>(*const_cast<uint32_t*>(word)).load(order);
  }
};

}  // namespace nodecomm::kernels
