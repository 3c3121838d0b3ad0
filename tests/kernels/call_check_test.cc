#include "kernels/call_check.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "kernels/device/host.h"

namespace nodecomm::kernels {
namespace {

constexpr int kRanks = 3;
constexpr CallFacts kCall = {.bytes = 8192, .type = 2};

// The check of rank 2, with what the others have sent put there by hand.
class CallCheckTest : public testing::Test {
 protected:
  CallCheckTest() {
    call_.rank = 2;
    for (int step = 0; step < kRanks; ++step) {
      call_.planes[step] =
          reinterpret_cast<std::byte*>(&headers_[RankAfter(call_.rank, step, kRanks)]);
    }
    call_.failure = &failure_;
    call_.timeout_ns = 20'000'000;
    call_.stop_words = {&stop_, &left_mask_, left_epoch_};
  }

  void Receive(int from, uint32_t sequence, const CallFacts& facts) {
    HostMachine::StorePacket(own_.check_slots[sequence & 1u][from],
                             EncodeCallFacts(facts, sequence));
  }
  bool Check(const CallFacts& mine = kCall) {
    return CallCheck<HostMachine, kRanks>::Run(call_, mine);
  }

  PlaneHeader headers_[kRanks] = {};
  PlaneHeader& own_ = headers_[2];
  FailureRecord failure_ = {};
  uint32_t stop_ = 0;
  uint32_t left_mask_ = 0;
  uint32_t left_epoch_[kWorldSizeMax] = {};
  Call call_ = {};
};

TEST_F(CallCheckTest, FactsComeBackFromTheirPacket) {
  for (const uint64_t bytes :
       {uint64_t{0}, uint64_t{5} << 32, std::numeric_limits<uint64_t>::max()}) {
    for (const uint32_t type : {0u, 1u, 2u}) {
      const CallFacts facts = {.bytes = bytes, .type = type};
      EXPECT_EQ(DecodeCallFacts(EncodeCallFacts(facts, 7)), facts);
      EXPECT_NE(EncodeCallFacts(facts, 7).word[2], 0u) << "unlike memory that nobody wrote";
    }
  }
}

TEST_F(CallCheckTest, PassesWhenAllCallTheSameAndTellsThem) {
  Receive(0, 1, kCall);
  Receive(1, 1, kCall);
  EXPECT_TRUE(Check());
  EXPECT_EQ(own_.check.begun, 1u);
  EXPECT_EQ(own_.check.ended, 1u);
  for (const int peer : {0, 1}) {
    const Packet sent = HostMachine::LoadPacket(headers_[peer].check_slots[1][2]);
    EXPECT_EQ(sent.word[3], 1u);
    EXPECT_EQ(DecodeCallFacts(sent), kCall);
  }
}

TEST_F(CallCheckTest, EveryFactIsCompared) {
  for (const CallFacts other :
       {CallFacts{.bytes = 4096, .type = 2}, CallFacts{.bytes = 8192, .type = 0},
        CallFacts{.bytes = 8192 + (uint64_t{1} << 32), .type = 2}}) {
    own_ = {};
    failure_ = {};
    Receive(0, 1, kCall);
    Receive(1, 1, other);
    EXPECT_FALSE(Check());
    EXPECT_EQ(failure_.state, FailureRecord::kMismatch);
    EXPECT_EQ(failure_.sequence, 1u);
    EXPECT_EQ(failure_.missing_rank, 1);
    EXPECT_EQ(failure_.own, kCall);
    EXPECT_EQ(failure_.other, other);
    for (const PlaneHeader& header : headers_) EXPECT_NE(header.poison, 0u);
  }
}

TEST_F(CallCheckTest, ADifferenceIsNamedThoughAnotherRankIsMissing) {
  Receive(1, 1, {.bytes = 1, .type = 0});
  EXPECT_FALSE(Check());
  EXPECT_EQ(failure_.state, FailureRecord::kMismatch);
  EXPECT_EQ(failure_.missing_rank, 1);
}

TEST_F(CallCheckTest, APacketOfAnotherCallIsNotTakenForThisOne) {
  // Both of this parity: of two calls ago, and of two calls ahead.
  for (const uint32_t other : {5u, 9u}) {
    own_ = {};
    failure_ = {};
    own_.check = {6, 6};
    Receive(0, 7, kCall);
    Receive(1, other, kCall);
    EXPECT_FALSE(Check());
    EXPECT_EQ(failure_.state, FailureRecord::kTimeout);
    EXPECT_EQ(failure_.sequence, 7u);
    EXPECT_EQ(failure_.missing_rank, 1);
  }
}

TEST_F(CallCheckTest, FreshMemoryIsNoPacketAtTheWrap) {
  own_.check = {0xffffffffu, 0xffffffffu};
  Receive(0, kEpochAfterWrap, kCall);
  EXPECT_FALSE(Check());
  EXPECT_EQ(failure_.state, FailureRecord::kTimeout);
  EXPECT_EQ(failure_.sequence, kEpochAfterWrap);
}

TEST_F(CallCheckTest, WhoLeftAndIsMissingIsNamed) {
  call_.timeout_ns = 20'000'000'000;
  left_mask_ = 1u << 1;
  Receive(0, 1, kCall);
  EXPECT_FALSE(Check());
  EXPECT_EQ(failure_.state, FailureRecord::kLeft);
  EXPECT_EQ(failure_.missing_rank, 1);
  EXPECT_EQ(headers_[0].poison, 0u) << "the peer sees it for itself";
}

TEST_F(CallCheckTest, WhoLeftAfterThisCheckDoesNotEndIt) {
  left_mask_ = 1u << 1;
  Receive(1, 1, kCall);
  EXPECT_FALSE(Check());
  EXPECT_EQ(failure_.state, FailureRecord::kTimeout) << "rank 0 alone is waited for";
  EXPECT_EQ(failure_.missing_rank, 0);
}

TEST_F(CallCheckTest, TheStopWordEndsIt) {
  call_.timeout_ns = 20'000'000'000;
  stop_ = 1;
  EXPECT_FALSE(Check());
  EXPECT_EQ(failure_.state, FailureRecord::kStopped);
}

TEST_F(CallCheckTest, PoisonEndsItBeforeItTellsAnybody) {
  own_.poison = 1;
  own_.check = {6, 5};
  EXPECT_FALSE(Check());
  EXPECT_EQ(failure_.state, FailureRecord::kStopped);
  for (const PlaneHeader& header : headers_) {
    static constexpr std::byte kZeros[sizeof(header.check_slots)] = {};
    EXPECT_EQ(std::memcmp(header.check_slots, kZeros, sizeof(kZeros)), 0);
  }
}

TEST_F(CallCheckTest, ACheckThatHasNotEndedIsAnOverlap) {
  own_.check = {6, 5};
  EXPECT_FALSE(Check());
  EXPECT_EQ(failure_.state, FailureRecord::kOverlap);
  EXPECT_EQ(failure_.sequence, 7u);
}

}  // namespace
}  // namespace nodecomm::kernels
