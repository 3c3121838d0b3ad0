// Chooses algorithm, grid and chunk for a message: one pure function.
// Its inputs are the same on every rank, and so is its result; pointers and alignment are no
// inputs, on purpose. Design note: kernels/README.md, "selection".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "client/base/quantities.h"
#include "kernels/element.h"

namespace nodecomm::kernels {

// Version of the tables in selection.cc: ranks whose tables differ must not form a group.
inline constexpr uint32_t kAlgorithmTableVersion = 2;

enum class Algorithm { kCopy, kOneShot, kTwoShot };

// "copy", "one_shot", "two_shot".
std::string_view AlgorithmName(Algorithm algorithm);

// What is fixed when a group forms.
struct GroupShape {
  WorldSize world_size;
  ByteCount plane_bytes;
  // The least of all members.
  int multiprocessors = 1;
  // One algorithm for every size, if set.
  std::optional<Algorithm> algorithm_override;
};

// How packets say that they have come (device/format.h).
enum class PacketFormat { kEpoch, kSentinel };

struct Plan {
  Algorithm algorithm = Algorithm::kCopy;
  PacketFormat format = PacketFormat::kEpoch;
  // Bytes of one launch; a message takes ceil(bytes / chunk_bytes) launches. A multiple of 48, so
  // that every chunk starts as aligned as the message.
  size_t chunk_bytes = 0;
};

struct Grid {
  int blocks = 1;
  int threads = 32;
};

// No grid that SelectGrid gives has fewer threads.
inline constexpr int kGridThreadsMin = 64;

Plan SelectPlan(ByteCount message, ElementType type, const GroupShape& shape);

// Packets that a rank's grid shares out for one chunk: those of the chunk (one-shot) or of a shard
// of it (two-shot). A chunk has one shard a rank; shards at the end may lie partly or wholly beyond
// the chunk, and are sent all the same, so that every rank hears from every other in every call.
size_t GridPackets(const Plan& plan, ByteCount chunk, WorldSize world_size);

// The grid for one chunk; never has a block without a packet.
Grid SelectGrid(const Plan& plan, ByteCount chunk, const GroupShape& shape);

}  // namespace nodecomm::kernels
