#include "kernels/device/await.h"

#include <gtest/gtest.h>

#include "kernels/device/format.h"
#include "kernels/device/host.h"
#include "kernels/device/rank_packets.h"

namespace nodecomm::kernels {
namespace {

constexpr int kRanks = 4;
constexpr int kSelf = 1;
constexpr uint32_t kEpoch = 7;
using Packets = RankPackets<HostMachine, kRanks>;

Packet PacketOf(int rank) { return Encode({{static_cast<uint32_t>(rank) + 1, 0, 0, 0}}); }

// The slots of one packet at rank 1.
class AwaitTest : public testing::Test {
 protected:
  AwaitTest() {
    call_.planes[0] = reinterpret_cast<std::byte*>(&header_);
    call_.rank = kSelf;
    call_.stop_words = {&stop_, &left_mask_, left_epoch_};
  }

  std::byte* SlotFrom(int rank) { return slots_ + PlaceOffset<kRanks>(rank); }
  void Receive(int rank) { HostMachine::StorePacket(SlotFrom(rank), PacketOf(rank)); }
  bool Spin(Packets& packets) {
    return SpinForPackets(Alone(), kEpoch, slots_, packets, &awaited_);
  }

  alignas(kPacketBytes) std::byte slots_[kRanks * kSlotsTogether * kPacketBytes] = {};
  PlaneHeader header_ = {};
  uint32_t stop_ = 0;
  uint32_t left_mask_ = 0;
  uint32_t left_epoch_[kWorldSizeMax] = {};
  Call call_ = {};
  Awaited awaited_;
};

TEST_F(AwaitTest, PacketsStandInRankOrderWithTheOwnAmongThem) {
  for (const int rank : {0, 2, 3}) Receive(rank);
  Packets packets(kSelf);
  packets.PutOwn(PacketOf(kSelf));
  ASSERT_TRUE(Spin(packets));
  for (int place = 0; place < kRanks; ++place) {
    EXPECT_EQ(packets.RankAt(place), place);
    EXPECT_EQ(Decode(packets[place]).word[0], static_cast<uint32_t>(place) + 1);
  }
  packets.RearmAt(slots_);
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_FALSE(HasCome(HostMachine::LoadPacket(SlotFrom(rank))));
  }
}

TEST_F(AwaitTest, WhoeverIsMissingIsNamed) {
  for (const int missing : {0, 2, 3}) {
    for (const int rank : {0, 2, 3}) {
      if (rank != missing) Receive(rank);
    }
    Packets packets(kSelf);
    EXPECT_FALSE(Spin(packets));
    EXPECT_EQ(awaited_.rank, missing);
    EXPECT_EQ(awaited_.epoch, kEpoch);
    for (const int rank : {0, 2, 3}) Rearm<HostMachine>(SlotFrom(rank));
  }
}

TEST_F(AwaitTest, NobodyIsMissingWhoHasComeSinceTheLastLook) {
  const Packets packets(kSelf);
  for (const int rank : {0, 2, 3}) Receive(rank);
  EXPECT_EQ(packets.MissingRank(slots_), -1);
}

TEST_F(AwaitTest, TheDeadlineEndsTheWaitForARankAndBlamesNobodyElse) {
  call_.timeout_ns = 0;
  Patience<HostMachine> patience;
  Failure failure;
  const auto may_wait = [&](int rank) {
    return patience.MayWait(call_, kRanks, {kEpoch, rank}, &failure);
  };
  EXPECT_TRUE(may_wait(-1)) << "the wait begins";
  const uint64_t begin = HostMachine::NowNs();
  while (HostMachine::NowNs() == begin) {
  }
  EXPECT_TRUE(may_wait(-1)) << "it has come meanwhile: once more";
  EXPECT_EQ(failure.state, FailureRecord::kNone);
  EXPECT_FALSE(may_wait(2));
  EXPECT_EQ(failure.state, FailureRecord::kTimeout);
  EXPECT_EQ(failure.rank, 2);
}

}  // namespace
}  // namespace nodecomm::kernels
