#include "kernels/selection.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/device/stream.h"
#include "kernels/tuning.h"

namespace nodecomm::kernels {
namespace {

// Every launch but the last is a multiple of this, so that it starts as aligned (16 bytes) and at a
// packet's boundary (12 and 16) as the message.
constexpr size_t kLaunchMultiple = 48;

constexpr size_t kThreadsMax = 512;
constexpr size_t kWarp = 32;
// A block has at least so many, where one trip is made: 64 KiB at two ranks take 2.18 us with 64
// and 128 threads, 2.23 with 256, 2.41 with 512; 1 KiB takes 1.88, 1.85, 1.82, 1.88 (2 x H100).
constexpr size_t kOneShotThreadsMin = 128;
// Packets that a thread takes in one chunk of a message of several, at most: the halves of 8.7 MB
// stay in a cache of 50 MB. 64 MiB at two ranks in us: 4: 204.6, 8: 198.5, 14: 200.5 (2 x H100).
constexpr size_t kChunkRowsMax = 8;

size_t DivideUp(size_t a, size_t b) { return (a + b - 1) / b; }

size_t BlocksMax(const GroupShape& shape) {
  return static_cast<size_t>(std::clamp(shape.multiprocessors, 1, kBlocksMax));
}

// Shards that a launch is cut into.
size_t Shards(Algorithm algorithm, const GroupShape& shape) {
  return algorithm == Algorithm::kTwoShot ? static_cast<size_t>(shape.world_size.value) : 1;
}

size_t SlotPackets(Algorithm algorithm, PacketFormat format, const GroupShape& shape) {
  const PlaneLayout& layout = shape.layout;
  const bool epoch = format == PacketFormat::kEpoch;
  return algorithm == Algorithm::kOneShot
             ? (epoch ? layout.one_shot_epoch : layout.one_shot_sentinel).slot_packets
             : (epoch ? layout.scatter_epoch : layout.scatter_sentinel).slot_packets;
}

// With epochs a launch has a packet a thread at most (one_shot.h, two_shot.h).
size_t EpochLaunchBytesMax(Algorithm algorithm, const GroupShape& shape) {
  const size_t packets =
      std::min(SlotPackets(algorithm, PacketFormat::kEpoch, shape), BlocksMax(shape) * kThreadsMax);
  return packets * PacketDataBytes(PacketFormat::kEpoch) * Shards(algorithm, shape) /
         kLaunchMultiple * kLaunchMultiple;
}

Algorithm SelectAlgorithm(ByteCount message, const GroupShape& shape) {
  if (shape.world_size.value == 1) return Algorithm::kCopy;
  if (shape.algorithm_override.has_value()) return *shape.algorithm_override;
  size_t one_shot_max =
      TuningFor(shape.architecture).one_shot_bytes_max[static_cast<size_t>(shape.world_size.value)];
  if (shape.world_size.value > 2) {
    // In a small plane, two-shot in one launch beats one-shot in several.
    one_shot_max = std::min(one_shot_max, EpochLaunchBytesMax(Algorithm::kOneShot, shape));
  }
  return message.value <= one_shot_max ? Algorithm::kOneShot : Algorithm::kTwoShot;
}

PacketFormat SelectFormat(ByteCount message, Algorithm algorithm, const GroupShape& shape) {
  // No room for it in this group's planes.
  if (SlotPackets(algorithm, PacketFormat::kSentinel, shape) == 0) return PacketFormat::kEpoch;
  const size_t epoch_max = std::min(
      TuningFor(shape.architecture).epoch_bytes_max[static_cast<size_t>(shape.world_size.value)],
      EpochLaunchBytesMax(algorithm, shape));
  return message.value <= epoch_max ? PacketFormat::kEpoch : PacketFormat::kSentinel;
}

// As many threads as packets, over as many multiprocessors as there are.
Grid SpreadOver(size_t packets, Algorithm algorithm, size_t blocks_max) {
  const size_t threads_min =
      algorithm == Algorithm::kOneShot ? kOneShotThreadsMin : size_t{kGridThreadsMin};
  const size_t threads = std::clamp<size_t>(DivideUp(DivideUp(packets, blocks_max), kWarp) * kWarp,
                                            threads_min, kThreadsMax);
  const size_t blocks = std::clamp<size_t>(DivideUp(packets, threads), 1, blocks_max);
  return {.blocks = static_cast<int>(blocks), .threads = static_cast<int>(threads)};
}

size_t Threads(Grid grid) {
  return static_cast<size_t>(grid.blocks) * static_cast<size_t>(grid.threads);
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
  Plan plan = {.algorithm = SelectAlgorithm(message, shape), .launch_bytes = message.value};
  if (plan.algorithm == Algorithm::kCopy) return plan;
  plan.format = SelectFormat(message, plan.algorithm, shape);
  if (plan.format == PacketFormat::kEpoch) {
    // Launches of equal size: a short last one would pay a whole latency for few bytes.
    const size_t launch_max = EpochLaunchBytesMax(plan.algorithm, shape);
    if (message.value > launch_max) {
      plan.launch_bytes = DivideUp(message.value, DivideUp(message.value, launch_max));
    }
  }
  plan.launch_bytes = DivideUp(plan.launch_bytes, kLaunchMultiple) * kLaunchMultiple;
  return plan;
}

LaunchPlan PlanLaunch(const Plan& plan, ByteCount launch, const GroupShape& shape) {
  LaunchPlan result;
  result.packets = WholePackets(launch.value + PacketDataBytes(plan.format) - 1, plan.format);
  if (const size_t shards = Shards(plan.algorithm, shape); shards > 1) {
    result.packets = DivideUp(result.packets, shards);
  }
  result.chunk_packets = result.packets;
  const size_t blocks_max = BlocksMax(shape);
  if (plan.format == PacketFormat::kEpoch) {
    result.grid = SpreadOver(result.packets, plan.algorithm, blocks_max);
    return result;
  }
  result.grid = SpreadOver(result.packets, plan.algorithm, blocks_max);
  const size_t slot = SlotPackets(plan.algorithm, plan.format, shape);
  const size_t rows_max = slot / Threads(result.grid);
  if (result.packets <= slot && result.packets <= kChunkRowsMax * Threads(result.grid)) {
    return result;
  }
  if (rows_max < kChunkRowsMin) {
    // A small plane: fewer threads, so that a chunk has a few packets for each.
    result.grid.threads = static_cast<int>(std::clamp<size_t>(
        slot / kChunkRowsMin / blocks_max / kWarp * kWarp, kGridThreadsMin, kThreadsMax));
    result.grid.blocks = static_cast<int>(std::clamp<size_t>(
        slot / kChunkRowsMin / static_cast<size_t>(result.grid.threads), 1, blocks_max));
  }
  const size_t threads = Threads(result.grid);
  const size_t rows = std::min(kChunkRowsMax, slot / threads);
  // Chunks of equal size, but that the last one gives room.
  const size_t rows_in_all = DivideUp(result.packets, threads);
  result.chunks = DivideUp(rows_in_all, rows);
  result.chunk_packets =
      std::max<size_t>(kChunkRowsMin, DivideUp(rows_in_all, result.chunks)) * threads;
  result.chunks = DivideUp(result.packets, result.chunk_packets);
  return result;
}

}  // namespace nodecomm::kernels
