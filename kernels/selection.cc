#include "kernels/selection.h"

#include <algorithm>
#include <array>

#include "kernels/plane_layout.h"

namespace nodecomm::kernels {
namespace {

// Every chunk but the last is a multiple of this, so that it starts as aligned (16 bytes) and as
// packed (12) as the message.
constexpr size_t kChunkMultiple = 48;

constexpr int kThreadsMin = 64;
constexpr int kThreadsMax = 512;
constexpr int kWarp = 32;

// The largest message that one-shot serves, by world size. With two ranks both algorithms move the
// same bytes and one-shot has a hop less, so it serves every size, in chunks where need be. Origin:
// 2, 3, 4: where the curves of the two algorithms cross on 4 x H200 (driver 580, bf16, graphs),
// 2026-11-22, `nodecomm-perf --algorithm one_shot` beside `two_shot`; 5 to 8: derived from 4 by the
// bytes that one-shot sends, not measured.
constexpr std::array<size_t, kWorldSizeMax + 1> kOneShotBytesMax = {
    0, 0, SIZE_MAX, 320 << 10, 160 << 10, 120 << 10, 96 << 10, 80 << 10, 68 << 10};

size_t DivideUp(size_t a, size_t b) { return (a + b - 1) / b; }

size_t ChunkBytesMax(Algorithm algorithm, const GroupShape& shape) {
  const PlaneLayout layout = LayOutPlane(shape.plane_bytes, shape.world_size);
  const size_t packets = algorithm == Algorithm::kOneShot
                             ? layout.one_shot_slot_packets
                             : layout.two_shot_slot_packets * shape.world_size.value;
  return packets * kPacketDataBytes / kChunkMultiple * kChunkMultiple;
}

Algorithm SelectAlgorithm(ByteCount message, const GroupShape& shape) {
  if (shape.world_size.value == 1) return Algorithm::kCopy;
  if (shape.algorithm_override.has_value()) return *shape.algorithm_override;
  size_t one_shot_max = kOneShotBytesMax[shape.world_size.value];
  // In a small plane, two-shot in one launch beats one-shot in several.
  if (shape.world_size.value > 2) {
    one_shot_max = std::min(one_shot_max, ChunkBytesMax(Algorithm::kOneShot, shape));
  }
  return message.value <= one_shot_max ? Algorithm::kOneShot : Algorithm::kTwoShot;
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
  const Algorithm algorithm = SelectAlgorithm(message, shape);
  if (algorithm == Algorithm::kCopy) return {.algorithm = algorithm, .chunk_bytes = message.value};
  const size_t chunk_max = ChunkBytesMax(algorithm, shape);
  if (message.value <= chunk_max) {
    return {.algorithm = algorithm,
            .chunk_bytes = DivideUp(message.value, kChunkMultiple) * kChunkMultiple};
  }
  // Chunks of equal size: a short last one would pay a whole latency for few bytes.
  const size_t chunks = DivideUp(message.value, chunk_max);
  const size_t chunk = DivideUp(DivideUp(message.value, chunks), kChunkMultiple) * kChunkMultiple;
  return {.algorithm = algorithm, .chunk_bytes = chunk};
}

size_t ShardPackets(ByteCount chunk, WorldSize world_size) {
  return DivideUp(DivideUp(chunk.value, kPacketDataBytes), static_cast<size_t>(world_size.value));
}

Grid SelectGrid(Algorithm algorithm, ByteCount chunk, const GroupShape& shape) {
  const size_t items = algorithm == Algorithm::kOneShot ? DivideUp(chunk.value, kPacketDataBytes)
                                                        : ShardPackets(chunk, shape.world_size);
  const size_t blocks_max = static_cast<size_t>(std::min(shape.multiprocessors, kBlocksMax));
  // One-shot wants few, full blocks; two-shot all multiprocessors as soon as they are worth it.
  const size_t spread = algorithm == Algorithm::kOneShot ? 32 : blocks_max;
  const size_t threads = std::clamp<size_t>(DivideUp(DivideUp(items, spread), kWarp) * kWarp,
                                            kThreadsMin, kThreadsMax);
  const size_t blocks = std::clamp<size_t>(DivideUp(items, threads), 1, blocks_max);
  return {.blocks = static_cast<int>(blocks), .threads = static_cast<int>(threads)};
}

}  // namespace nodecomm::kernels
