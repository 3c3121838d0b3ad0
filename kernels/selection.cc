#include "kernels/selection.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/plane_layout.h"

namespace nodecomm::kernels {
namespace {

// Every chunk but the last is a multiple of this, so that it starts as aligned (16 bytes) and at a
// packet's boundary (12 and 16) as the message.
constexpr size_t kChunkMultiple = 48;

constexpr int kThreadsMax = 512;
constexpr int kWarp = 32;

using BytesByWorldSize = std::array<size_t, kWorldSizeMax + 1>;

// Origin of both tables: 2, 3 and 4 ranks: where the measured curves cross on 4 x H200 (driver 580,
// bf16, graph replay), 2026-11-22; 5 to 8: derived from 4 by the bytes that a rank sends, not
// measured.

// The largest message that one-shot serves. With two ranks both algorithms move the same bytes and
// one-shot has a hop less, so it serves every size.
constexpr BytesByWorldSize kOneShotBytesMax = {0,         0,        SIZE_MAX, 320 << 10, 160 << 10,
                                               120 << 10, 96 << 10, 80 << 10, 68 << 10};

// The largest message that goes in packets with epochs; larger ones are worth the re-arming that
// sentinels need.
constexpr BytesByWorldSize kEpochBytesMax = {0,         0,         192 << 10, 384 << 10, 384 << 10,
                                             384 << 10, 384 << 10, 384 << 10, 384 << 10};

size_t DivideUp(size_t a, size_t b) { return (a + b - 1) / b; }

size_t PacketDataBytes(PacketFormat format) { return format == PacketFormat::kEpoch ? 12 : 16; }

size_t ChunkBytesMax(Algorithm algorithm, PacketFormat format, const GroupShape& shape) {
  const PlaneLayout layout = LayOutPlane(shape.plane_bytes, shape.world_size);
  const bool epoch = format == PacketFormat::kEpoch;
  const size_t packets =
      algorithm == Algorithm::kOneShot
          ? (epoch ? layout.one_shot_epoch : layout.one_shot_sentinel).slot_packets
          : (epoch ? layout.scatter_epoch : layout.scatter_sentinel).slot_packets *
                static_cast<size_t>(shape.world_size.value);
  return packets * PacketDataBytes(format) / kChunkMultiple * kChunkMultiple;
}

Algorithm SelectAlgorithm(ByteCount message, const GroupShape& shape) {
  if (shape.world_size.value == 1) return Algorithm::kCopy;
  if (shape.algorithm_override.has_value()) return *shape.algorithm_override;
  size_t one_shot_max = kOneShotBytesMax[static_cast<size_t>(shape.world_size.value)];
  if (shape.world_size.value > 2) {
    // In a small plane, two-shot in one launch beats one-shot in several.
    one_shot_max =
        std::min(one_shot_max, ChunkBytesMax(Algorithm::kOneShot, PacketFormat::kEpoch, shape));
  }
  return message.value <= one_shot_max ? Algorithm::kOneShot : Algorithm::kTwoShot;
}

PacketFormat SelectFormat(ByteCount message, Algorithm algorithm, const GroupShape& shape) {
  // No room for it in this group's planes.
  if (ChunkBytesMax(algorithm, PacketFormat::kSentinel, shape) == 0) return PacketFormat::kEpoch;
  const size_t epoch_max = std::min(kEpochBytesMax[static_cast<size_t>(shape.world_size.value)],
                                    ChunkBytesMax(algorithm, PacketFormat::kEpoch, shape));
  return message.value <= epoch_max ? PacketFormat::kEpoch : PacketFormat::kSentinel;
}

}  // namespace

std::string_view AlgorithmName(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kCopy:
      return "copy";
    case Algorithm::kOneShot:
      return "one_shot";
    case Algorithm::kTwoShot:
      return "two_shot";
  }
  return "unknown";
}

Plan SelectPlan(ByteCount message, ElementType /*type*/, const GroupShape& shape) {
  Plan plan = {.algorithm = SelectAlgorithm(message, shape)};
  if (plan.algorithm == Algorithm::kCopy) {
    plan.chunk_bytes = message.value;
    return plan;
  }
  plan.format = SelectFormat(message, plan.algorithm, shape);
  // Chunks of equal size: a short last one would pay a whole latency for few bytes.
  const size_t chunks = std::max<size_t>(
      1, DivideUp(message.value, ChunkBytesMax(plan.algorithm, plan.format, shape)));
  plan.chunk_bytes = DivideUp(DivideUp(message.value, chunks), kChunkMultiple) * kChunkMultiple;
  return plan;
}

size_t GridPackets(const Plan& plan, ByteCount chunk, WorldSize world_size) {
  const size_t packets = DivideUp(chunk.value, PacketDataBytes(plan.format));
  return plan.algorithm == Algorithm::kOneShot
             ? packets
             : DivideUp(packets, static_cast<size_t>(world_size.value));
}

Grid SelectGrid(const Plan& plan, ByteCount chunk, const GroupShape& shape) {
  const size_t packets = GridPackets(plan, chunk, shape.world_size);
  const size_t blocks_max = static_cast<size_t>(std::min(shape.multiprocessors, kBlocksMax));
  // Small messages want few, full blocks; large ones all multiprocessors.
  const bool small = plan.algorithm == Algorithm::kOneShot && plan.format == PacketFormat::kEpoch;
  const size_t spread = small ? std::min<size_t>(32, blocks_max) : blocks_max;
  const size_t threads = std::clamp<size_t>(DivideUp(DivideUp(packets, spread), kWarp) * kWarp,
                                            kGridThreadsMin, kThreadsMax);
  const size_t blocks = std::clamp<size_t>(DivideUp(packets, threads), 1, blocks_max);
  return {.blocks = static_cast<int>(blocks), .threads = static_cast<int>(threads)};
}

}  // namespace nodecomm::kernels
