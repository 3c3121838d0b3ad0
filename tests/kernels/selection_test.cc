#include "kernels/selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "kernels/plane_layout.h"

namespace nodecomm::kernels {
namespace {

constexpr size_t kSizes[] = {1,         2,         4,       11,      12,        13,
                             48,        1000,      1024,    8192,    65536,     262143,
                             262144,    262145,    1 << 20, 4 << 20, 6'000'000, (16 << 20) + 2,
                             64u << 20, 1ull << 32};

GroupShape Shape(int ranks, ByteCount plane = kPlaneBytesDefault) {
  return {.world_size = WorldSize{ranks}, .plane_bytes = plane, .multiprocessors = 132};
}

TEST(Selection, WorldSizeOneIsACopy) {
  EXPECT_EQ(SelectPlan(ByteCount{1024}, ElementType::kFloat32, Shape(1)).algorithm,
            Algorithm::kCopy);
}

TEST(Selection, SmallMessagesTakeOneTripAndLargeOnesTwo) {
  for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
    EXPECT_EQ(SelectPlan(ByteCount{8192}, ElementType::kBfloat16, Shape(ranks)).algorithm,
              Algorithm::kOneShot);
    // Between two ranks, two trips would carry no fewer bytes than one.
    EXPECT_EQ(SelectPlan(ByteCount{64u << 20}, ElementType::kBfloat16, Shape(ranks)).algorithm,
              ranks == 2 ? Algorithm::kOneShot : Algorithm::kTwoShot);
  }
}

TEST(Selection, TheOverrideHoldsAtEverySize) {
  for (const Algorithm algorithm : {Algorithm::kOneShot, Algorithm::kTwoShot}) {
    GroupShape shape = Shape(4);
    shape.algorithm_override = algorithm;
    for (const size_t bytes : kSizes) {
      EXPECT_EQ(SelectPlan(ByteCount{bytes}, ElementType::kFloat16, shape).algorithm, algorithm);
    }
  }
}

TEST(Selection, ChunksFitTheirSlotsAndKeepAlignment) {
  for (const ByteCount plane : {kPlaneBytesMin, 4_MiB, kPlaneBytesDefault}) {
    for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
      const PlaneLayout layout = LayOutPlane(plane, WorldSize{ranks});
      for (const auto algorithm : {std::optional<Algorithm>(), std::optional(Algorithm::kOneShot),
                                   std::optional(Algorithm::kTwoShot)}) {
        GroupShape shape = Shape(ranks, plane);
        shape.algorithm_override = algorithm;
        for (const size_t bytes : kSizes) {
          const Plan plan = SelectPlan(ByteCount{bytes}, ElementType::kBfloat16, shape);
          ASSERT_GT(plan.chunk_bytes, 0u);
          EXPECT_EQ(plan.chunk_bytes % 48, 0u);
          const bool epoch = plan.format == PacketFormat::kEpoch;
          const SlotRegion& region =
              plan.algorithm == Algorithm::kOneShot
                  ? (epoch ? layout.one_shot_epoch : layout.one_shot_sentinel)
                  : (epoch ? layout.scatter_epoch : layout.scatter_sentinel);
          EXPECT_LE(GridPackets(plan, ByteCount{plan.chunk_bytes}, WorldSize{ranks}),
                    region.slot_packets);
        }
      }
    }
  }
}

TEST(Selection, NoBlockIsWithoutAPacketAndNoneIsMissing) {
  for (const int multiprocessors : {1, 46, 108, 132, 300}) {
    for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
      GroupShape shape = Shape(ranks);
      shape.multiprocessors = multiprocessors;
      for (const size_t bytes : kSizes) {
        const Plan plan = SelectPlan(ByteCount{bytes}, ElementType::kBfloat16, shape);
        const size_t chunk = std::min(bytes, plan.chunk_bytes);
        const Grid grid = SelectGrid(plan, ByteCount{chunk}, shape);
        const size_t items = GridPackets(plan, ByteCount{chunk}, shape.world_size);
        EXPECT_GE(grid.threads, kGridThreadsMin);
        EXPECT_LE(grid.threads, 512);
        EXPECT_LE(grid.blocks, std::min(multiprocessors, kBlocksMax));
        EXPECT_LT(static_cast<size_t>(grid.blocks - 1) * grid.threads, items)
            << "the last block of " << grid.blocks << " has no packet";
      }
    }
  }
}

TEST(PlaneLayout, RegionsFollowEachOtherAndEndInsideThePlane) {
  for (const ByteCount plane : {kPlaneBytesMin, 6_MiB, kPlaneBytesDefault, 1024_MiB}) {
    for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
      const PlaneLayout layout = LayOutPlane(plane, WorldSize{ranks});
      size_t end = sizeof(PlaneHeader);
      for (const SlotRegion& region :
           {layout.one_shot_epoch, layout.scatter_epoch, layout.gather_epoch,
            layout.one_shot_sentinel, layout.scatter_sentinel, layout.gather_sentinel}) {
        EXPECT_GE(region.begin, end);
        EXPECT_EQ(region.begin % 128, 0u);
        end = region.begin + 2 * static_cast<size_t>(ranks) * kPacketBytes * region.slot_packets;
      }
      EXPECT_LE(end, plane.value);
      EXPECT_GT(layout.one_shot_epoch.slot_packets, 0u);
      EXPECT_EQ(layout.scatter_epoch.slot_packets, layout.gather_epoch.slot_packets);
      EXPECT_EQ(layout.scatter_sentinel.slot_packets, layout.gather_sentinel.slot_packets);
      EXPECT_GT(layout.one_shot_sentinel.slot_packets + layout.scatter_sentinel.slot_packets, 0u);
    }
  }
}

}  // namespace
}  // namespace nodecomm::kernels
