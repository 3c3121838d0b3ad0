// That the check sees what it should see: every kind of damage to an arena is counted.
// See client/perf/arena.h.
// Design note: client/perf/README.md.
#include "client/perf/arena.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "client/perf/reference.h"

namespace nodecomm::perf {
namespace {

using ::testing::HasSubstr;

constexpr Rank kRank{1};
constexpr WorldSize kRanks{3};

class ArenaTest : public ::testing::Test {
 protected:
  ArenaTest() : layout_({64 << 10}), sums_(kFirstElementMax * 4 * 2) {
    EXPECT_TRUE(layout_.Place(NODECOMM_FLOAT32, 100, Placement::kOutOfPlace, 3, 5));
    EXPECT_TRUE(layout_.Place(NODECOMM_FLOAT32, 33, Placement::kInPlace, 1, 0));
    EXPECT_TRUE(layout_.Place(NODECOMM_FLOAT32, 0, Placement::kOutOfPlace, 0, 0));
    uint32_t first = 7;
    for (ArenaCall& call : layout_.calls()) call.first_element = first += 100;
    FillExpected(NODECOMM_FLOAT32, kRanks, 0, kFirstElementMax, sums_.data());
    expected_.of_type[NODECOMM_FLOAT32] = sums_.data();
    image_.resize(layout_.used().value);
    FillImage(layout_, kRank, image_);
  }

  // What right calls would leave.
  void MakeCalls() {
    for (const ArenaCall& call : layout_.calls()) {
      std::memcpy(image_.data() + call.out_offset, sums_.data() + call.first_element * 4,
                  call.bytes());
    }
  }
  Verdict Verify() { return VerifyImage(layout_, kRank, expected_, image_); }

  ArenaLayout layout_;
  std::vector<std::byte> sums_;
  ExpectedSums expected_;
  std::vector<std::byte> image_;
};

TEST_F(ArenaTest, RightCallsAreRight) {
  MakeCalls();
  EXPECT_EQ(Verify().wrong, 0u);
  EXPECT_EQ(Verify().first, "");
}

TEST_F(ArenaTest, CallsThatWereNotMadeAreWrong) { EXPECT_GT(Verify().wrong, 100u); }

TEST_F(ArenaTest, OneBitOfAnOutputIsOneWrongElement) {
  MakeCalls();
  image_[layout_.calls()[0].out_offset + 4 * 42] ^= std::byte{1};
  const Verdict verdict = Verify();
  EXPECT_EQ(verdict.wrong, 1u);
  EXPECT_THAT(verdict.first,
              HasSubstr("rank 1, 100 elements of f32 out of place, output element 42"));
}

TEST_F(ArenaTest, AChangedInputIsWrong) {
  MakeCalls();
  image_[layout_.calls()[0].in_offset] ^= std::byte{0x80};
  const Verdict verdict = Verify();
  EXPECT_EQ(verdict.wrong, 1u);
  EXPECT_THAT(verdict.first, HasSubstr("input element 0"));
}

TEST_F(ArenaTest, BytesAroundBuffersAreGuarded) {
  for (const ArenaCall& call : layout_.calls()) {
    for (const size_t offset : {call.in_offset - 1, call.in_offset + call.bytes(),
                                call.out_offset - 1, call.out_offset + call.bytes()}) {
      FillImage(layout_, kRank, image_);
      MakeCalls();
      image_[offset] = std::byte{0};
      const Verdict verdict = Verify();
      EXPECT_EQ(verdict.wrong, 1u) << offset;
      EXPECT_THAT(verdict.first, HasSubstr("overwritten with 0x00"));
    }
  }
}

TEST(ArenaLayout, AlignsAndMisaligns) {
  ArenaLayout layout({16 << 10});
  ASSERT_TRUE(layout.Place(NODECOMM_FLOAT16, 10, Placement::kOutOfPlace, 0, 7));
  EXPECT_EQ(layout.calls()[0].in_offset % 256, 0u);
  EXPECT_EQ(layout.calls()[0].out_offset % 256, 14u);
}

TEST(ArenaLayout, RefusesWhatDoesNotFitAndStaysAsItWas) {
  ArenaLayout layout({8 << 10});
  ASSERT_TRUE(layout.Place(NODECOMM_FLOAT32, 256, Placement::kOutOfPlace, 0, 0));
  const ByteCount used = layout.used();
  EXPECT_FALSE(layout.Place(NODECOMM_FLOAT32, 1024, Placement::kOutOfPlace, 0, 0));
  EXPECT_EQ(layout.used(), used);
  EXPECT_EQ(layout.calls().size(), 1u);
}

TEST(ArenaLayout, BytesNeededSuffice) {
  for (Placement placement : {Placement::kInPlace, Placement::kOutOfPlace}) {
    for (size_t bytes : {4, 1000, 1 << 20}) {
      ArenaLayout layout(ArenaLayout::BytesNeeded({bytes}, placement));
      EXPECT_TRUE(
          layout.Place(NODECOMM_FLOAT32, bytes / 4, placement, kMisalignmentMax, kMisalignmentMax));
    }
  }
}

}  // namespace
}  // namespace nodecomm::perf
