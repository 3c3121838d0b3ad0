#include "kernels/selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "kernels/device/stream.h"
#include "kernels/plane_layout.h"
#include "kernels/tuning.h"

namespace nodecomm::kernels {
namespace {

constexpr size_t kSizes[] = {1,         2,          4,          11,      12,        13,
                             48,        1000,       1024,       8192,    65536,     262143,
                             262144,    262145,     1 << 20,    4 << 20, 6'000'000, (16 << 20) + 2,
                             64u << 20, 1ull << 32, 32ull << 30};

GroupShape Shape(int ranks, ByteCount plane = kPlaneBytesDefault) {
  return {.world_size = WorldSize{ranks},
          .layout = LayOutPlane(plane, WorldSize{ranks}),
          .multiprocessors = 132};
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

size_t SlotPackets(const Plan& plan, const GroupShape& shape) {
  const PlaneLayout& layout = shape.layout;
  return plan.algorithm == Algorithm::kOneShot
             ? layout.first.slot_packets
             : std::min(layout.first.slot_packets, layout.gather.slot_packets);
}

// Every shape, override and size that a launch may be planned for.
template <class Look>
void ForEachLaunch(const Look& look) {
  for (const ByteCount plane : {kPlaneBytesMin, 4_MiB, kPlaneBytesDefault}) {
    for (const int multiprocessors : {1, 46, 108, 132, 300}) {
      for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
        for (const auto algorithm : {std::optional<Algorithm>(), std::optional(Algorithm::kOneShot),
                                     std::optional(Algorithm::kTwoShot)}) {
          GroupShape shape = Shape(ranks, plane);
          shape.multiprocessors = multiprocessors;
          shape.algorithm_override = algorithm;
          for (const size_t bytes : kSizes) {
            const Plan plan = SelectPlan(ByteCount{bytes}, ElementType::kBfloat16, shape);
            ASSERT_GT(plan.launch_bytes, 0u);
            const size_t first = std::min(bytes, plan.launch_bytes);
            look(plan, PlanLaunch(plan, ByteCount{first}, shape), shape, first);
            const size_t last = bytes % plan.launch_bytes;
            if (last != 0) look(plan, PlanLaunch(plan, ByteCount{last}, shape), shape, last);
          }
        }
      }
    }
  }
}

TEST(Selection, LaunchesKeepAlignmentAndHoldTheirMessage) {
  ForEachLaunch([](const Plan& plan, const LaunchPlan& launch, const GroupShape& shape,
                   size_t bytes) {
    EXPECT_EQ(plan.launch_bytes % kPacketBytes, 0u);
    const size_t shards =
        plan.algorithm == Algorithm::kTwoShot ? static_cast<size_t>(shape.world_size.value) : 1;
    EXPECT_GE(launch.packets * shards * kPacketBytes, bytes);
    EXPECT_EQ(launch.chunks, (launch.packets + launch.chunk_packets - 1) / launch.chunk_packets);
  });
}

TEST(Selection, ChunksFitTheirSlots) {
  ForEachLaunch([](const Plan& plan, const LaunchPlan& launch, const GroupShape& shape, size_t) {
    EXPECT_LE(launch.chunk_packets, SlotPackets(plan, shape));
  });
}

TEST(Selection, SeveralChunksInALaunchGiveEveryThreadTheSameNumberOfPackets) {
  int with_several = 0;
  ForEachLaunch([&](const Plan&, const LaunchPlan& launch, const GroupShape&, size_t) {
    if (launch.chunks == 1) return;
    ++with_several;
    EXPECT_EQ(launch.chunk_packets % launch.grid.ThreadsInAll(), 0u);
    EXPECT_FALSE(launch.HasPacketAThread()) << "kernels without chunks would serve it";
  });
  EXPECT_GT(with_several, 0);
}

// What the wait at a launch's end rests on (device/stream.h).
TEST(Selection, LaunchesOfSeveralChunksOfAGroupAreMuchAlike) {
  for (const ByteCount plane : {kPlaneBytesMin, kPlaneBytesDefault, 64_MiB, 96_MiB}) {
    for (const int multiprocessors : {1, 46, 50, 80, 132}) {
      for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
        GroupShape shape = Shape(ranks, plane);
        shape.multiprocessors = multiprocessors;
        shape.algorithm_override = ranks == 2 ? Algorithm::kOneShot : Algorithm::kTwoShot;
        std::optional<Grid> grid;
        size_t rows_min = SIZE_MAX;
        size_t rows_max = 0;
        for (size_t bytes = 64 << 10; bytes < 256u << 20; bytes += bytes / 7) {
          const Plan plan = SelectPlan(ByteCount{bytes}, ElementType::kBfloat16, shape);
          const LaunchPlan launch = PlanLaunch(plan, ByteCount{bytes}, shape);
          if (launch.chunks == 1) continue;
          if (!grid.has_value()) grid = launch.grid;
          EXPECT_EQ(launch.grid.blocks, grid->blocks);
          EXPECT_EQ(launch.grid.threads, grid->threads);
          const size_t rows = launch.chunk_packets / grid->ThreadsInAll();
          rows_min = std::min(rows_min, rows);
          rows_max = std::max(rows_max, rows);
        }
        ASSERT_GT(rows_max, 0u);
        EXPECT_GT(2 * rows_min, rows_max) << ranks << " ranks, " << multiprocessors;
      }
    }
  }
}

TEST(Selection, NoBlockIsWithoutAPacketAndNoGridTooLarge) {
  ForEachLaunch([](const Plan& plan, const LaunchPlan& launch, const GroupShape& shape, size_t) {
    const Grid grid = launch.grid;
    EXPECT_GE(grid.threads, kGridThreadsMin);
    const bool is_two_ranks_one_shot =
        plan.algorithm == Algorithm::kOneShot && shape.world_size.value == 2;
    EXPECT_LE(grid.threads, is_two_ranks_one_shot && launch.HasPacketAThread() ? 1024 : 512);
    EXPECT_LE(grid.blocks, std::min(shape.multiprocessors, kBlocksMax));
    EXPECT_LT(static_cast<size_t>(grid.blocks - 1) * grid.threads, launch.packets)
        << "the last block of " << grid.blocks << " has no packet";
    if (plan.algorithm == Algorithm::kOneShot && shape.world_size.value > 2) {
      EXPECT_TRUE(launch.HasPacketAThread()) << "there is no stream of it";
    }
  });
}

TEST(Selection, EveryArchitectureHasATable) {
  for (const int architecture : {0, 80, 86, 89, 90, 100, 103, 120}) {
    const Tuning& tuning = TuningFor(architecture);
    for (int ranks = 3; ranks <= kWorldSizeMax; ++ranks) {
      EXPECT_GE(tuning.one_shot_bytes_max[ranks], 8192u) << architecture;
      EXPECT_LE(tuning.one_shot_bytes_max[ranks], tuning.one_shot_bytes_max[ranks - 1]);
    }
  }
  EXPECT_NE(&TuningFor(90), &TuningFor(100));
}

TEST(Selection, TheSwitchOversAreThoseOfTheTable) {
  for (const int architecture : {80, 90, 100}) {
    for (int ranks = 3; ranks <= kWorldSizeMax; ++ranks) {
      GroupShape shape = Shape(ranks);
      shape.architecture = architecture;
      const Tuning& tuning = TuningFor(architecture);
      const auto plan_of = [&](size_t bytes) {
        return SelectPlan(ByteCount{bytes}, ElementType::kBfloat16, shape);
      };
      const size_t one_shot = tuning.one_shot_bytes_max[ranks];
      EXPECT_EQ(plan_of(one_shot).algorithm, Algorithm::kOneShot);
      EXPECT_EQ(plan_of(one_shot + 2).algorithm, Algorithm::kTwoShot);
    }
  }
}

TEST(Selection, TwoRanksTakeLargerBlocksAsLongAsEachThreadHasOnePacketThen) {
  const auto launch_of = [](size_t packets, int architecture, ByteCount plane) {
    GroupShape shape = Shape(2, plane);
    shape.architecture = architecture;
    const ByteCount bytes{packets * kPacketBytes};
    return PlanLaunch(SelectPlan(bytes, ElementType::kBfloat16, shape), bytes, shape);
  };
  constexpr size_t kBlocks = 132;
  for (const int architecture : {0, 90}) {
    const auto launch = [&](size_t packets) {
      return launch_of(packets, architecture, kPlaneBytesDefault);
    };
    EXPECT_EQ(launch(512 * kBlocks).grid.threads, 512);
    EXPECT_EQ(launch(512 * kBlocks + 1).grid.threads, 544);
    EXPECT_EQ(launch(1024 * kBlocks).grid.threads, 1024);
    EXPECT_TRUE(launch(1024 * kBlocks).HasPacketAThread());
    EXPECT_EQ(launch(1024 * kBlocks + 1).grid.threads, 512) << "the kernel that streams";
    // A slot that does not hold the message: chunks, which are streamed.
    EXPECT_LE(launch_of(1024 * kBlocks, architecture, 4_MiB).grid.threads, 512);
  }
  // Where a multiprocessor holds fewer threads than two such blocks.
  for (const int architecture : {86, 89, 120}) {
    EXPECT_LE(launch_of(1024 * kBlocks, architecture, kPlaneBytesDefault).grid.threads, 512);
  }
}

TEST(CommonArchitecture, AsksNoGpuForKernelsOfAnother) {
  for (const int same : {80, 86, 89, 90, 100, 120}) EXPECT_EQ(CommonArchitecture(same, same), same);
  for (const int other : {80, 86, 89, 100, 103, 120}) {
    for (const int common : {CommonArchitecture(90, other), CommonArchitecture(other, 90)}) {
      EXPECT_LE(common, other);
      EXPECT_LE(TuningFor(common).two_rank_threads_max, 512u) << other;
    }
  }
}

TEST(Stream, LaunchesEndWithTheCreditOfWhatTheNextOneSendsInto) {
  Call call = {};
  const auto last_credit = [&](uint32_t rows, uint32_t chunks) -> int {
    const Lane lane = {.first = 0, .step = 64};
    call.chunk_packets = rows * lane.step;
    call.chunks = chunks;
    return EndsWithCredit(call, lane) ? static_cast<int>(ChunkOfLastCredit(call, lane)) : -1;
  };
  // The next launch sends two packets unheard, of chunks 0 and 1 behind these.
  EXPECT_EQ(last_credit(/*rows=*/1, /*chunks=*/1), -1);
  EXPECT_EQ(last_credit(1, 2), -1);
  EXPECT_EQ(last_credit(1, 3), 0);
  EXPECT_EQ(last_credit(1, 9), 6);
  // Its chunks may have one packet a thread where these have two.
  EXPECT_EQ(last_credit(2, 3), 0);
  // Or both are of its first chunk, whose part is that of the last but three.
  EXPECT_EQ(last_credit(3, 3), -1);
  EXPECT_EQ(last_credit(3, 4), 0);
  EXPECT_EQ(last_credit(8, 9), 5);
}

TEST(Stream, CreditsThatAPeerWaitsForAreGivenAndNoOthersBehindThem) {
  Call call = {};
  const Lane lane = {.first = 0, .step = 64};
  for (uint32_t rows = 1; rows <= 8; ++rows) {
    for (uint32_t chunks = 1; chunks <= 20; ++chunks) {
      call.chunk_packets = rows * lane.step;
      call.chunks = chunks;
      for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
        const bool in_launch = chunk + kRegionParts < chunks;
        const bool at_end = EndsWithCredit(call, lane) && chunk == ChunkOfLastCredit(call, lane);
        if (in_launch || at_end) {
          EXPECT_TRUE(IsCreditWanted(call, lane, chunk));
        }
        if (!EndsWithCredit(call, lane) || chunk > ChunkOfLastCredit(call, lane)) {
          EXPECT_FALSE(IsCreditWanted(call, lane, chunk));
        }
      }
    }
  }
}

TEST(PlaneLayout, RegionsFollowEachOtherAndEndInsideThePlane) {
  for (const ByteCount plane : {kPlaneBytesMin, 6_MiB, kPlaneBytesDefault, 1024_MiB}) {
    for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
      const PlaneLayout layout = LayOutPlane(plane, WorldSize{ranks});
      size_t end = kPlaneRegionsBegin;
      for (const SlotRegion& region : {layout.first, layout.gather}) {
        EXPECT_GE(region.begin, end);
        EXPECT_EQ(region.begin % 128, 0u);
        end = region.begin + kRegionParts * PartBytes(region.slot_packets, ranks);
      }
      EXPECT_LE(end, plane.value);
      EXPECT_GT(layout.first.slot_packets, 0u);
      EXPECT_GT(layout.gather.slot_packets, 0u);
    }
  }
}

// Packets of which no two may share a slot, from every rank into one part.
template <int kRanks>
void ExpectSlotsApart(ByteCount plane) {
  for (const SlotRegion& region : {LayOutPlane(plane, WorldSize{kRanks}).first,
                                   LayOutPlane(plane, WorldSize{kRanks}).gather}) {
    const size_t part_bytes = PartBytes(region.slot_packets, kRanks) - kSlotShiftRoom;
    std::vector<bool> taken(part_bytes / kPacketBytes);
    for (uint32_t index = 0; index < region.slot_packets; ++index) {
      // Between two there is one sender, whichever it is.
      for (int from = kRanks == 2 ? 1 : 0; from < kRanks; ++from) {
        const size_t offset = SlotOffset<kRanks>(index) + PlaceOffset<kRanks>(from);
        ASSERT_EQ(offset % kPacketBytes, 0u);
        ASSERT_LE(offset + kPacketBytes, part_bytes) << kRanks << " ranks, packet " << index;
        ASSERT_FALSE(taken[offset / kPacketBytes]) << kRanks << " ranks, packet " << index;
        taken[offset / kPacketBytes] = true;
      }
    }
  }
}

TEST(PlaneLayout, SlotsOfAllRanksLieApartAndInsideTheirPart) {
  for (const ByteCount plane : {kPlaneBytesMin, kPlaneBytesDefault}) {
    ExpectSlotsApart<2>(plane);
    ExpectSlotsApart<3>(plane);
    ExpectSlotsApart<4>(plane);
    ExpectSlotsApart<5>(plane);
    ExpectSlotsApart<7>(plane);
    ExpectSlotsApart<8>(plane);
  }
}

// And by less than a row's place, from one of which to the next a shift must not carry.
TEST(PlaneLayout, MessagesOfAsManyPacketsThatDifferAreShiftedDifferently) {
  for (const size_t packets : {1, 7, 1000}) {
    std::set<uint32_t> shifts;
    size_t messages = 0;
    for (const ElementType type :
         {ElementType::kFloat32, ElementType::kFloat16, ElementType::kBfloat16}) {
      const size_t size = ElementBytes(type);
      for (size_t bytes = (packets - 1) * kPacketBytes + size; bytes <= packets * kPacketBytes;
           bytes += size) {
        const uint32_t shift = SlotShift(type, bytes);
        EXPECT_EQ(shift % 128, 0u);
        EXPECT_LE(shift, kSlotShiftRoom);
        shifts.insert(shift);
        ++messages;
      }
    }
    EXPECT_EQ(messages, 20u);
    EXPECT_EQ(shifts.size(), messages);
    EXPECT_LT(*shifts.rbegin() - *shifts.begin(), kSlotsTogether * kPacketBytes);
  }
}

struct KindOfCall {
  ElementType type;
  size_t bytes;

  uint32_t packets() const {
    return static_cast<uint32_t>((bytes + kPacketBytes - 1) / kPacketBytes);
  }
};

// Whether some rank waits for a packet that nobody sends it, where each makes such a call.
template <int kRanks>
bool SomebodyMissesAPacket(const std::array<const KindOfCall*, kRanks>& calls) {
  uint32_t packets_max = 0;
  for (const KindOfCall* call : calls) packets_max = std::max(packets_max, call->packets());
  for (int to = 0; to < kRanks; ++to) {
    const auto slots_of = [](const KindOfCall& call, int from, auto&& body) {
      for (uint32_t i = 0; i < call.packets(); ++i) {
        body(
            (SlotOffset<kRanks>(i) + PlaceOffset<kRanks>(from) + SlotShift(call.type, call.bytes)) /
            kPacketBytes);
      }
    };
    std::vector<bool> written(PartBytes(packets_max + kSlotsTogether, kRanks) / kPacketBytes);
    bool misses = false;
    for (int from = 0; from < kRanks; ++from) {
      if (from != to) slots_of(*calls[from], from, [&](size_t slot) { written[slot] = true; });
    }
    for (int from = 0; from < kRanks; ++from) {
      if (from != to) slots_of(*calls[to], from, [&](size_t slot) { misses |= !written[slot]; });
    }
    if (misses) return true;
  }
  return false;
}

template <int kRanks>
void ExpectThatSomebodyMissesAPacket() {
  for (const size_t packets : {1, 8, 200, 511, 512, 513, 1100}) {
    const size_t bytes = packets * kPacketBytes;
    // The last with as many packets more as its shift is less than another's.
    const std::array<KindOfCall, 6> kinds = {{{ElementType::kBfloat16, bytes},
                                              {ElementType::kFloat16, bytes},
                                              {ElementType::kFloat32, bytes},
                                              {ElementType::kBfloat16, bytes - 14},
                                              {ElementType::kFloat32, bytes - 4},
                                              {ElementType::kBfloat16, bytes + 2048}}};
    size_t assignments = 1;
    for (int rank = 0; rank < kRanks; ++rank) assignments *= kinds.size();
    for (size_t assignment = 0; assignment < assignments; ++assignment) {
      std::array<const KindOfCall*, kRanks> calls;
      size_t rest = assignment;
      for (const KindOfCall*& call : calls) {
        call = &kinds[rest % kinds.size()];
        rest /= kinds.size();
      }
      const bool all_alike = std::count(calls.begin(), calls.end(), calls[0]) == kRanks;
      ASSERT_EQ(SomebodyMissesAPacket<kRanks>(calls), !all_alike)
          << kRanks << " ranks, " << packets << " packets, assignment " << assignment;
    }
  }
}

TEST(PlaneLayout, OfRanksWhoseCallsDifferSomebodyMissesAPacketWhoeverDiffers) {
  ExpectThatSomebodyMissesAPacket<2>();
  ExpectThatSomebodyMissesAPacket<3>();
  ExpectThatSomebodyMissesAPacket<4>();
}

TEST(PlaneLayout, OffsetsOfTheLargestPlaneFitIn32Bits) {
  for (int ranks = 2; ranks <= kWorldSizeMax; ++ranks) {
    const PlaneLayout layout = LayOutPlane(ByteCount{size_t{1} << 40}, WorldSize{ranks});
    for (const SlotRegion& region : {layout.first, layout.gather}) {
      EXPECT_LE(kRegionParts * PartBytes(region.slot_packets, ranks), UINT32_MAX);
    }
  }
}

}  // namespace
}  // namespace nodecomm::kernels
