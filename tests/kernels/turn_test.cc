#include "kernels/device/turn.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/device/credit.h"
#include "kernels/device/host.h"

namespace nodecomm::kernels {
namespace {

constexpr int kRanks = 2;

// One rank's words, as its kernels find them, and its peer's.
class TurnTest : public testing::Test {
 protected:
  TurnTest() {
    for (int r = 0; r < kRanks; ++r) call_.planes[r] = reinterpret_cast<std::byte*>(&headers_[r]);
    call_.failure = &failure_;
    call_.chunks = 1;
  }

  void SetAll(uint32_t epoch) {
    for (BlockState& block : own_.block) block.epoch = {epoch, epoch};
  }
  void SetPoison(uint32_t poison) {
    for (Page& page : headers_) {
      page.header.poison = poison;
      for (BlockState& block : page.header.block) block.poison = poison;
    }
  }
  // For who waits, and for every block that starts.
  static bool IsPoisoned(const PlaneHeader& header) {
    return header.poison != 0 &&
           std::all_of(std::begin(header.block), std::end(header.block),
                       [](const BlockState& block) { return block.poison != 0; });
  }
  template <Code kCode = Code::kProven>
  Turn Begin() const {
    return BeginTurn<HostMachine, kCode>(call_);
  }
  // False: another call has taken these epochs.
  template <Code kCode = Code::kProven>
  bool EndsSendingAlone(const Turn& turn) {
    return EndSending<HostMachine, kCode>(call_, turn, &why_);
  }
  template <Code kCode = Code::kProven>
  void End(const Turn& turn) const {
    EndTurn<HostMachine, kCode>(call_, turn);
  }
  // A launch from beginning to end, beside nobody.
  template <Code kCode>
  void Run() {
    const Turn turn = Begin<kCode>();
    EXPECT_FALSE(IsOver(turn));
    EXPECT_TRUE(EndsSendingAlone<kCode>(turn));
    End<kCode>(turn);
  }
  uint32_t ReadLastEpoch() const { return LastEpoch(reinterpret_cast<const std::byte*>(&own_)); }

  // Two pages, so that a header's copy may be read as a whole one.
  struct alignas(kPlaneHeaderBytes) Page {
    PlaneHeader header;
  };
  Page headers_[kRanks] = {};
  PlaneHeader& own_ = headers_[0].header;
  FailureRecord failure_ = {};
  Failure why_;
  Call call_ = {};
};

TEST_F(TurnTest, TakesTheNextEpochAndEndsIt) {
  for (const uint32_t last : {0u, 1u, 41u, 0xfffffffeu, 0xffffffffu}) {
    SetAll(last);
    const Turn turn = Begin();
    EXPECT_EQ(FirstEpoch(turn), NextEpoch(last));
    EXPECT_FALSE(IsOver(turn));
    EXPECT_TRUE(EndsSendingAlone(turn)) << last;
    EXPECT_EQ(own_.block[0].epoch.begun, FirstEpoch(turn));
    EXPECT_EQ(own_.block[0].epoch.ended, last) << "not before the end";
    EXPECT_EQ(ReadLastEpoch(), last);
    End(turn);
    for (const BlockState& block : own_.block) {
      EXPECT_EQ(block.epoch.begun, FirstEpoch(turn));
      EXPECT_EQ(block.epoch.ended, FirstEpoch(turn));
    }
    EXPECT_EQ(failure_.state, FailureRecord::kNone);
  }
}

TEST_F(TurnTest, ALaunchOfSeveralChunksTakesAsManyEpochs) {
  call_.chunks = 5;
  for (const auto& [last, end] : {std::pair{0u, 5u}, {41u, 46u}, {0xfffffffdu, 6u}}) {
    SetAll(last);
    EXPECT_EQ(FirstEpoch(Begin()), NextEpoch(last));
    EXPECT_EQ(FinalEpoch(call_, Begin()), end);
    Run<Code::kProven>();
    EXPECT_EQ(ReadLastEpoch(), end);
    SetAll(last);
    Run<Code::kLean>();
    EXPECT_EQ(ReadLastEpoch(), end);
  }
}

TEST(Credits, AreClearedInEveryLaunchThatPassesTheTopOrBeginsJustBehindIt) {
  // None of these launches passes the epochs that the wrap leaves out but the one that says so.
  const auto is_turn = [](uint32_t first, uint32_t last) {
    Call call = {};
    call.chunks = last - first + 1;
    return IsTurnToClearCredits(call, {.found = first - 1});
  };
  for (const uint32_t top : {0u, 0x80000000u}) {
    EXPECT_TRUE(is_turn(top + 4, top + 4));
    EXPECT_TRUE(is_turn(top + 3, top + 3));
    EXPECT_FALSE(is_turn(top + 5, top + 9));
    EXPECT_TRUE(is_turn(top + 1, top + 7));
    EXPECT_FALSE(is_turn(top + 0x7ffffff0u, top + 0x7fffffffu));
    EXPECT_TRUE(is_turn(top - 2, top + 6)) << "over the top";
  }
  // The launch before ended at the top. An old credit of 0xffffffff would pass for this one's.
  EXPECT_TRUE(is_turn(0x80000000u, 0x80000002u));
}

TEST_F(TurnTest, WhoGaveUpHasNotEnded) {
  SetAll(5);
  const Turn turn = Begin();
  EXPECT_TRUE(EndsSendingAlone(turn));
  GiveUp<HostMachine>(call_, kRanks, {FailureRecord::kTimeout, FirstEpoch(turn), 1});
  EXPECT_EQ(own_.block[0].epoch.begun, 6u);
  EXPECT_EQ(own_.block[0].epoch.ended, 5u);
  EXPECT_EQ(ReadLastEpoch(), 5u);
  EXPECT_EQ(failure_.state, FailureRecord::kTimeout);
}

TEST_F(TurnTest, AnEarlierCallThatHasNotEndedIsAnOverlapWhicheverBlockIsLate) {
  // Of the earlier call the late block has taken its epoch, or has not even begun.
  for (const EpochPair late : {EpochPair{6, 5}, EpochPair{5, 5}}) {
    for (const int block : {0, 1, 131, kBlocksMax - 1}) {
      SetAll(6);
      own_.block[block].epoch = late;
      own_.failure_claimed = 0;
      SetPoison(0);
      const Turn turn = Begin();
      EXPECT_TRUE(IsOver(turn)) << "block " << block;
      GiveUp<HostMachine>(call_, kRanks, WhyOver(turn));
      EXPECT_EQ(failure_.state, FailureRecord::kOverlap);
      EXPECT_TRUE(IsPoisoned(own_));
      EXPECT_TRUE(IsPoisoned(headers_[1].header)) << "news to the peer";
    }
  }
}

TEST_F(TurnTest, TwoThatTakeTheSameEpochAreSeenByTheSecond) {
  SetAll(5);
  const Turn first = Begin();
  const Turn second = Begin();
  EXPECT_FALSE(IsOver(second));
  EXPECT_TRUE(EndsSendingAlone(first));
  EXPECT_FALSE(EndsSendingAlone(second));
  GiveUp<HostMachine>(call_, kRanks, why_);
  EXPECT_EQ(failure_.state, FailureRecord::kOverlap);
  EXPECT_EQ(failure_.epoch, 6u);
  EXPECT_TRUE(IsPoisoned(headers_[1].header));
  EXPECT_EQ(own_.block[0].epoch.ended, 5u);
}

// Another call begins while it sends. What it waits for never comes.
class Overtaken {
 public:
  static constexpr bool kMayTakeSeveralChunks = false;
  static constexpr Code kHasCode = Code::kProven;
  explicit Overtaken(const Call& call) : call_(call) {}
  void Start(const Turn& turn) {
    Failure none;
    EXPECT_TRUE((EndSending<HostMachine, Code::kProven>(call_, turn, &none)));
  }
  bool Advance() {
    ADD_FAILURE() << "waits";
    return true;
  }
  Awaited awaited() const { return {}; }

 private:
  const Call& call_;
};

TEST_F(TurnTest, WhoIsSecondDoesNotWait) {
  SetAll(5);
  Overtaken protocol(call_);
  EXPECT_FALSE((RunTurn<HostMachine, kRanks>(call_, Begin(), protocol, &why_)));
  EXPECT_EQ(why_.state, FailureRecord::kOverlap);
  EXPECT_EQ(why_.epoch, 6u);
}

TEST_F(TurnTest, OneThatProvesNothingLeavesTheWordsAsOthersExpectThem) {
  for (const uint32_t last : {0u, 41u, 0xffffffffu}) {
    SetAll(last);
    Run<Code::kLean>();
    EXPECT_EQ(ReadLastEpoch(), NextEpoch(last));
    EXPECT_FALSE(IsOver(Begin()));
  }
}

TEST_F(TurnTest, ThePoisonOfAnEarlierFailureComesFirst) {
  SetAll(5);
  own_.block[0].epoch = {6, 5};
  own_.block[0].poison = 1;
  const Turn turn = Begin();
  EXPECT_TRUE(IsOver(turn));
  GiveUp<HostMachine>(call_, kRanks, WhyOver(turn));
  EXPECT_EQ(failure_.state, FailureRecord::kStopped);
  EXPECT_EQ(headers_[1].header.poison, 0u) << "nothing new";
}

TEST_F(TurnTest, TheLastEpochIsTheLeastThatABlockHasEnded) {
  SetAll(7);
  EXPECT_EQ(ReadLastEpoch(), 7u);
  own_.block[200].epoch = {7, 6};
  EXPECT_EQ(ReadLastEpoch(), 6u);
  SetAll(2);
  own_.block[0].epoch = {2, 0xffffffffu};
  EXPECT_EQ(ReadLastEpoch(), 0xffffffffu) << "over the wrap";
}

}  // namespace
}  // namespace nodecomm::kernels
