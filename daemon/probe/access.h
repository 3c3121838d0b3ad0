// What a probe's threads do with the memory of two GPUs: one source for GPU and host threads, by
// the instructions that the all-reduce kernels use (kernels/device). Not the verdict (check.h).
// Design note: daemon/probe/README.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/device/call.h"

namespace nodecomm::probe {

using kernels::Lane;
using kernels::Packet;

// What threads found. Zero: nothing wrong.
struct Findings {
  uint64_t wrong_bytes;       // differ from what was written
  uint64_t first_wrong;       // offset of one of them, the least that was seen; meaningful if any
  uint64_t torn_packets;      // arrived with the right round and wrong data
  uint64_t disordered_reads;  // data older than the flag that was released after it
  uint64_t late_lanes;        // waited in vain
  uint64_t first_late_round;  // the least round that was waited for in vain; meaningful if any
  uint64_t nanoseconds;       // of a ping-pong, all rounds
};

inline constexpr uint64_t kNone = ~uint64_t{0};
inline constexpr Findings kNoFindings = {.first_wrong = kNone, .first_late_round = kNone};

// One lane's place in the exchange, twice by the parity of rounds: a packet that carries its round,
// and data with a flag of its own.
struct alignas(128) Slot {
  Packet packet;
  Packet data[4];
  uint32_t flag;
};

inline constexpr uint32_t kExchangeLanes = 4096;
inline constexpr uint64_t kExchangeBytes = 2 * kExchangeLanes * sizeof(Slot);

NODECOMM_KERNEL_FN uint64_t Mix(uint64_t value) {
  // The finaliser of SplitMix64. Source: https://prng.di.unimi.it/splitmix64.c (public domain).
  value += 0x9e3779b97f4a7c15ull;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
  return value ^ (value >> 31);
}

// Different for every packet and seed.
NODECOMM_KERNEL_FN Packet PatternPacket(uint64_t seed, uint64_t index) {
  const uint64_t low = Mix(seed + 2 * index);
  const uint64_t high = Mix(seed + 2 * index + 1);
  return {{static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32),
           static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)}};
}

// The last word is the round, from 1; the others follow from it.
NODECOMM_KERNEL_FN Packet RoundPacket(uint64_t seed, uint32_t lane, uint32_t round) {
  Packet packet = PatternPacket(seed + round, lane);
  packet.word[3] = round;
  return packet;
}

NODECOMM_KERNEL_FN bool Same(const Packet& a, const Packet& b) {
  return a.word[0] == b.word[0] && a.word[1] == b.word[1] && a.word[2] == b.word[2] &&
         a.word[3] == b.word[3];
}

template <typename M>
NODECOMM_KERNEL_FN void WritePattern(std::byte* memory, uint64_t packets, uint64_t seed,
                                     Lane lane) {
  for (uint64_t i = lane.first; i < packets; i += lane.step) {
    M::StorePacket(memory + i * sizeof(Packet), PatternPacket(seed, i));
  }
}

// Adds to `findings`, which is this thread's own.
NODECOMM_KERNEL_FN void CountWrongBytes(const Packet& found, const Packet& expected,
                                        uint64_t offset, Findings& findings) {
  for (uint64_t byte = 0; byte < sizeof(Packet); ++byte) {
    const uint32_t difference = found.word[byte / 4] ^ expected.word[byte / 4];
    if ((difference >> (byte % 4 * 8) & 0xffu) == 0) continue;
    ++findings.wrong_bytes;
    if (offset + byte < findings.first_wrong) findings.first_wrong = offset + byte;
  }
}

template <typename M>
NODECOMM_KERNEL_FN void ComparePattern(std::byte* memory, uint64_t packets, uint64_t seed,
                                       Lane lane, Findings& findings) {
  for (uint64_t i = lane.first; i < packets; i += lane.step) {
    const Packet found = M::LoadPacket(memory + i * sizeof(Packet));
    const Packet expected = PatternPacket(seed, i);
    if (!Same(found, expected)) CountWrongBytes(found, expected, i * sizeof(Packet), findings);
  }
}

// Two sides, each with its own memory and the other's, in lock step: whoever finishes a round has
// heard from the other in it, which had then read what the round before last had left in this slot.
// So two slots by parity suffice, as in the all-reduce.
struct Exchange {
  std::byte* own;
  std::byte* peer;
  uint64_t own_seed;   // of what this side sends
  uint64_t peer_seed;  // of what it awaits
  uint32_t rounds;
  uint64_t timeout_ns;  // of all rounds together
};

NODECOMM_KERNEL_FN Slot* SlotOf(std::byte* memory, uint32_t lane, uint32_t round) {
  return reinterpret_cast<Slot*>(memory) + (round & 1u) * kExchangeLanes + lane;
}

NODECOMM_KERNEL_FN std::byte* AddressOf(Packet& packet) {
  return reinterpret_cast<std::byte*>(&packet);
}

// False: the deadline has passed. `arrived` is asked again and again.
template <typename M, typename Arrived>
NODECOMM_KERNEL_FN bool AwaitRound(uint64_t deadline_ns, uint32_t round, Findings& findings,
                                   Arrived arrived) {
  for (uint32_t turn = 1; !arrived(); ++turn) {
    M::Pause();
    if (turn % M::kTurnsPerCheck != 0 || M::NowNs() < deadline_ns) continue;
    // It may have come while this thread did not run.
    if (arrived()) return true;
    ++findings.late_lanes;
    if (round < findings.first_late_round) findings.first_late_round = round;
    return false;
  }
  return true;
}

template <typename M>
NODECOMM_KERNEL_FN void SendRound(const Exchange& exchange, uint32_t lane, uint32_t round) {
  Slot* slot = SlotOf(exchange.peer, lane, round);
  for (uint32_t i = 0; i < 4; ++i) {
    M::StorePacket(AddressOf(slot->data[i]), PatternPacket(exchange.own_seed + round, lane + i));
  }
  M::StoreRelease(&slot->flag, round);
  M::StorePacket(AddressOf(slot->packet), RoundPacket(exchange.own_seed, lane, round));
}

template <typename M>
NODECOMM_KERNEL_FN bool CheckRound(const Exchange& exchange, uint32_t lane, uint32_t round,
                                   uint64_t deadline_ns, Findings& findings) {
  Slot* slot = SlotOf(exchange.own, lane, round);
  Packet packet;
  const bool came = AwaitRound<M>(deadline_ns, round, findings, [&] {
    packet = M::LoadPacket(AddressOf(slot->packet));
    return packet.word[3] == round;
  });
  if (!came) return false;
  if (!Same(packet, RoundPacket(exchange.peer_seed, lane, round))) ++findings.torn_packets;
  const bool flagged = AwaitRound<M>(deadline_ns, round, findings,
                                     [&] { return M::LoadAcquire(&slot->flag) == round; });
  if (!flagged) return false;
  for (uint32_t i = 0; i < 4; ++i) {
    const Packet data = M::LoadPacket(AddressOf(slot->data[i]));
    if (!Same(data, PatternPacket(exchange.peer_seed + round, lane + i))) {
      ++findings.disordered_reads;
    }
  }
  return true;
}

template <typename M>
NODECOMM_KERNEL_FN void ExchangeRounds(const Exchange& exchange, Lane lanes, Findings& findings) {
  const uint64_t deadline_ns = M::NowNs() + exchange.timeout_ns;
  for (uint32_t round = 1; round <= exchange.rounds; ++round) {
    for (uint32_t lane = lanes.first; lane < kExchangeLanes; lane += lanes.step) {
      SendRound<M>(exchange, lane, round);
    }
    for (uint32_t lane = lanes.first; lane < kExchangeLanes; lane += lanes.step) {
      if (!CheckRound<M>(exchange, lane, round, deadline_ns, findings)) return;
    }
  }
}

enum class Turn { kFirst, kSecond };

// One thread on each side: the first sends and awaits the answer, the second answers.
template <typename M>
NODECOMM_KERNEL_FN void PingPong(const Exchange& exchange, Turn turn, Findings& findings) {
  const uint64_t start = M::NowNs();
  const uint64_t deadline_ns = start + exchange.timeout_ns;
  for (uint32_t round = 1; round <= exchange.rounds; ++round) {
    if (turn == Turn::kFirst) {
      M::StorePacket(AddressOf(SlotOf(exchange.peer, 0, round)->packet),
                     RoundPacket(exchange.own_seed, 0, round));
    }
    Slot* slot = SlotOf(exchange.own, 0, round);
    const bool came = AwaitRound<M>(deadline_ns, round, findings, [&] {
      return M::LoadPacket(AddressOf(slot->packet)).word[3] == round;
    });
    if (!came) return;
    if (turn == Turn::kSecond) {
      M::StorePacket(AddressOf(SlotOf(exchange.peer, 0, round)->packet),
                     RoundPacket(exchange.own_seed, 0, round));
    }
  }
  findings.nanoseconds = M::NowNs() - start;
}

}  // namespace nodecomm::probe
