#include "kernels/selection.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/device/stream.h"
#include "kernels/tuning.h"

namespace nodecomm::kernels {
namespace {

constexpr size_t kThreadsMax = 512;
constexpr size_t kWarp = 32;
// Packets that a thread takes in one chunk of a message of several, at most: the parts of 8.7 MB
// stay in a cache of 50 MB.
constexpr size_t kChunkRowsMax = 8;

size_t DivideUp(size_t a, size_t b) { return (a + b - 1) / b; }

size_t BlocksMax(const GroupShape& shape) {
  return static_cast<size_t>(std::clamp(shape.multiprocessors, 1, kBlocksMax));
}

// Shards that a launch is cut into.
size_t Shards(Algorithm algorithm, const GroupShape& shape) {
  return algorithm == Algorithm::kTwoShot ? static_cast<size_t>(shape.world_size.value) : 1;
}

// What one part of the plane holds of each rank's packets.
size_t SlotPackets(Algorithm algorithm, const GroupShape& shape) {
  const PlaneLayout& layout = shape.layout;
  return algorithm == Algorithm::kOneShot
             ? layout.first.slot_packets
             : std::min(layout.first.slot_packets, layout.gather.slot_packets);
}

// The largest message that one-shot takes in one launch of a packet a thread.
size_t OneShotBytesMax(const GroupShape& shape) {
  return kPacketBytes *
         std::min(SlotPackets(Algorithm::kOneShot, shape), BlocksMax(shape) * kThreadsMax);
}

Algorithm SelectAlgorithm(ByteCount message, const GroupShape& shape) {
  if (shape.world_size.value == 1) return Algorithm::kCopy;
  if (shape.algorithm_override.has_value()) return *shape.algorithm_override;
  size_t one_shot_max =
      TuningFor(shape.architecture).one_shot_bytes_max[static_cast<size_t>(shape.world_size.value)];
  if (shape.world_size.value > 2) {
    // In a small plane, two-shot in one launch beats one-shot in several.
    one_shot_max = std::min(one_shot_max, OneShotBytesMax(shape));
  }
  return message.value <= one_shot_max ? Algorithm::kOneShot : Algorithm::kTwoShot;
}

// Threads of a block at most.
size_t ThreadsMax(Algorithm algorithm, size_t packets, const GroupShape& shape) {
  if (algorithm != Algorithm::kOneShot || shape.world_size.value > 2) return kThreadsMax;
  const size_t threads = TuningFor(shape.architecture).two_rank_threads_max;
  // A stream gains nothing by larger blocks.
  const bool has_packet_a_thread =
      packets <= std::min(threads * BlocksMax(shape), SlotPackets(algorithm, shape));
  return has_packet_a_thread ? threads : kThreadsMax;
}

// As many threads as packets, over as many multiprocessors as there are, in the smallest blocks:
// 64 KiB at four ranks take 2.74 us in blocks of 32 threads, 2.81 of 64 (4 x H100); at two ranks
// 2.06 of 64, 2.14 of 128, 2.33 of 256 (2 x H100).
Grid SpreadOver(size_t packets, size_t blocks_max, size_t threads_max) {
  const size_t threads = std::clamp<size_t>(DivideUp(DivideUp(packets, blocks_max), kWarp) * kWarp,
                                            kGridThreadsMin, threads_max);
  const size_t blocks = std::clamp<size_t>(DivideUp(packets, threads), 1, blocks_max);
  return {.blocks = static_cast<int>(blocks), .threads = static_cast<int>(threads)};
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
  // Two-shot, and what two ranks do, goes through a message of any size in one launch. The others
  // take launches of equal size: a short last one would pay a whole latency for few bytes.
  const size_t launch_max = OneShotBytesMax(shape);
  if (plan.algorithm == Algorithm::kOneShot && shape.world_size.value > 2 &&
      message.value > launch_max) {
    plan.launch_bytes = DivideUp(message.value, DivideUp(message.value, launch_max));
  }
  plan.launch_bytes = DivideUp(plan.launch_bytes, kPacketBytes) * kPacketBytes;
  return plan;
}

LaunchPlan PlanLaunch(const Plan& plan, ByteCount launch, const GroupShape& shape) {
  LaunchPlan result;
  result.packets = DivideUp(launch.value, kPacketBytes);
  if (const size_t shards = Shards(plan.algorithm, shape); shards > 1) {
    result.packets = DivideUp(result.packets, shards);
  }
  result.chunk_packets = result.packets;
  const size_t blocks_max = BlocksMax(shape);
  result.grid =
      SpreadOver(result.packets, blocks_max, ThreadsMax(plan.algorithm, result.packets, shape));
  const size_t slot = SlotPackets(plan.algorithm, shape);
  if (result.packets <= std::min(slot, kChunkRowsMax * result.grid.ThreadsInAll())) return result;
  // From here on no thread has one packet alone.
  if (slot < result.grid.ThreadsInAll()) {
    // A small plane: fewer threads, so that a chunk has a packet for each.
    result.grid.threads = static_cast<int>(
        std::clamp<size_t>(slot / blocks_max / kWarp * kWarp, kGridThreadsMin, kThreadsMax));
    result.grid.blocks = static_cast<int>(
        std::clamp<size_t>(slot / static_cast<size_t>(result.grid.threads), 1, blocks_max));
  }
  const size_t threads = result.grid.ThreadsInAll();
  const size_t rows = std::min(kChunkRowsMax, slot / threads);
  // Chunks of equal size, but that the last one gives room.
  const size_t rows_in_all = DivideUp(result.packets, threads);
  result.chunk_packets = DivideUp(rows_in_all, DivideUp(rows_in_all, rows)) * threads;
  result.chunks = DivideUp(result.packets, result.chunk_packets);
  return result;
}

}  // namespace nodecomm::kernels
