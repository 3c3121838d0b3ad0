// Sizes, types and the list of cases.
// See client/perf/sizes.h.
// Design note: client/perf/README.md.
#include "client/perf/sizes.h"

#include "tests/support/status_matchers.h"

namespace nodecomm::perf {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(ParseBytes, UnderstandsSuffixes) {
  EXPECT_EQ(ParseBytes("0")->value, 0u);
  EXPECT_EQ(ParseBytes("4096")->value, 4096u);
  EXPECT_EQ(ParseBytes("1K")->value, 1024u);
  EXPECT_EQ(ParseBytes("64m")->value, 64u << 20);
  EXPECT_EQ(ParseBytes("2GiB")->value, size_t{2} << 30);
  EXPECT_EQ(ParseBytes("3kb")->value, 3072u);
  EXPECT_EQ(ParseBytes("7B")->value, 7u);
}

TEST(ParseBytes, RefusesWhatIsNoSize) {
  for (const char* text :
       {"", "K", "-1", "1.5K", "1T", "1KK", "1Kx", "0x10", "99999999999999999999", "5G"}) {
    EXPECT_THAT(ParseBytes(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
}

TEST(ParseType, KnowsTheUsualNames) {
  for (const char* name : {"float", "float32", "fp32", "f32", "FLOAT"}) {
    EXPECT_EQ(*ParseType(name), NODECOMM_FLOAT32) << name;
  }
  for (const char* name : {"half", "float16", "fp16", "f16"}) {
    EXPECT_EQ(*ParseType(name), NODECOMM_FLOAT16) << name;
  }
  for (const char* name : {"bf16", "bfloat16", "BF16"}) {
    EXPECT_EQ(*ParseType(name), NODECOMM_BFLOAT16) << name;
  }
  EXPECT_THAT(ParseType("int8"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("int8")));
}

TEST(ListCases, GoesFromSmallestToLargestForEveryType) {
  Options options;
  options.bytes_min = {1024};
  options.bytes_max = {5000};
  options.types = {NODECOMM_FLOAT32, NODECOMM_BFLOAT16};
  const auto cases = ListCases(options);
  ASSERT_THAT(cases, IsOk());
  ASSERT_EQ(cases->size(), 6u);
  EXPECT_EQ((*cases)[0].count, 256u);
  EXPECT_EQ((*cases)[2].bytes().value, 4096u);
  EXPECT_EQ((*cases)[5].type, NODECOMM_BFLOAT16);
  EXPECT_EQ((*cases)[5].count, 2048u);
}

TEST(ListCases, RoundsDownToWholeElements) {
  Options options;
  options.bytes_min = options.bytes_max = {1027};
  const auto cases = ListCases(options);
  ASSERT_THAT(cases, IsOk());
  EXPECT_EQ((*cases)[0].bytes().value, 1024u);
}

TEST(FormatBytes, IsExactInTheLargestUnit) {
  EXPECT_EQ(FormatBytes({0}), "0 B");
  EXPECT_EQ(FormatBytes({1000}), "1000 B");
  EXPECT_EQ(FormatBytes({1536}), "1.5 KiB");
  EXPECT_EQ(FormatBytes(96_KiB), "96 KiB");
  EXPECT_EQ(FormatBytes(1280_KiB), "1280 KiB");
  EXPECT_EQ(FormatBytes(3_MiB), "3 MiB");
  EXPECT_EQ(FormatBytes({size_t{4} << 30}), "4 GiB");
}

TEST(ListCases, AsksForTheAlgorithmOfTheCommandLine) {
  Options options;
  options.algorithm = NODECOMM_ALGORITHM_TWO_SHOT;
  const auto cases = ListCases(options);
  ASSERT_THAT(cases, IsOk());
  for (const Case& c : *cases) EXPECT_EQ(c.requested, NODECOMM_ALGORITHM_TWO_SHOT);
}

TEST(ListCases, OfASweepHasMidpointsAndEveryAlgorithmInTurn) {
  Options options;
  options.sweep = true;
  const auto cases = ListCases(options);
  ASSERT_THAT(cases, IsOk());
  ASSERT_EQ(cases->size(), 3 * 33u);
  EXPECT_EQ((*cases)[1].bytes(), ByteCount{1536});
  EXPECT_EQ((*cases)[31].bytes(), 48_MiB);
  EXPECT_EQ((*cases)[32].bytes(), 64_MiB);
  EXPECT_EQ((*cases)[32].requested, NODECOMM_ALGORITHM_AUTO);
  EXPECT_EQ((*cases)[33].requested, NODECOMM_ALGORITHM_ONE_SHOT);
  EXPECT_EQ((*cases)[66].requested, NODECOMM_ALGORITHM_TWO_SHOT);
  EXPECT_EQ((*cases)[66].bytes(), 1_KiB);
}

TEST(ListCases, OfASweepTakesTheSizesThatAreGiven) {
  Options options;
  options.sweep = true;
  options.step_factor = 4;
  options.bytes_max = 16_KiB;
  EXPECT_EQ(ListCases(options)->size(), 3 * 3u);
  // 4, 8 and 12 bytes: the midpoint of the first is rounded down to it.
  options.step_factor.reset();
  options.bytes_min = {4};
  options.bytes_max = {12};
  EXPECT_EQ(ListCases(options)->size(), 3 * 3u);
}

TEST(ListCases, RefusesWhatCannotBeRun) {
  Options options;
  options.bytes_min = {2048};
  options.bytes_max = {1024};
  EXPECT_THAT(ListCases(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-b must not be above -e")));
  options.bytes_min = {3};
  EXPECT_THAT(ListCases(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("hold no element of f32")));
  options.bytes_min = {0};
  EXPECT_THAT(ListCases(options), StatusIs(absl::StatusCode::kInvalidArgument));
  options.bytes_min = {512};
  options.step_factor = 1;
  EXPECT_THAT(ListCases(options), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace nodecomm::perf
