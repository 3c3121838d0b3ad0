// The table, the words and the JSON of a sweep.
// See client/perf/sweep_report.h.
// Design note: client/perf/README.md, "sweep".
#include "client/perf/sweep_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace nodecomm::perf {
namespace {

using ::testing::HasSubstr;

Comparison At(size_t kib, double one_shot_us, double two_shot_us) {
  return {.size = {NODECOMM_FLOAT32, kib * 256},
          .auto_us = one_shot_us,
          .one_shot_us = one_shot_us,
          .two_shot_us = two_shot_us,
          .chosen = NODECOMM_ALGORITHM_ONE_SHOT,
          .wrong = 3};
}

TEST(SweepTable, RowsStandUnderTheirHead) {
  Options options;
  const std::string row = FormatSweepRow(options, At(96, 10, 8));
  EXPECT_EQ(row,
            "       98304       24576    f32       10.00        8.00       10.00   one_shot   "
            "two_shot   +25.0%     N/A\n");
  const std::string head = FormatSweepHead(options);
  // The last line ends where a row ends.
  EXPECT_EQ(head.size() - head.rfind('\n', head.size() - 2) - 1, row.size());
}

TEST(SweepTable, HasColumnsForWhatWasAskedFor) {
  Options options;
  options.check = true;
  options.compare_nccl = true;
  Comparison comparison = At(1, 10, 8);
  comparison.nccl_us = 26;
  EXPECT_THAT(FormatSweepRow(options, comparison), HasSubstr("       3       26.00\n"));
  EXPECT_THAT(FormatSweepHead(options), HasSubstr("#wrong        nccl\n"));
}

TEST(Crossovers, AreSaidPlainly) {
  EXPECT_EQ(FormatCrossovers(std::vector{At(64, 3, 5), At(96, 6, 7), At(128, 9, 8)}),
            "# f32: one_shot is the fastest up to 96 KiB, two_shot from 128 KiB on\n"
            "# f32: auto takes one_shot up to 128 KiB; against the fastest it loses most at 128 "
            "KiB: +12.5%\n");
}

TEST(Crossovers, SayWhereTheyAreNotMonotonic) {
  EXPECT_THAT(
      FormatCrossovers(std::vector{At(1, 3, 5), At(2, 10, 8), At(3, 3, 5), At(4, 10, 9)}),
      HasSubstr("not monotonic: the largest size at which one_shot is the fastest is 3 KiB, but "
                "two_shot is faster at 2 KiB too, by up to 20.0%\n"));
}

TEST(Crossovers, NameAFewOfManySizes) {
  std::vector<Comparison> comparisons;
  for (size_t kib = 1; kib <= 9; ++kib) comparisons.push_back(At(kib, 10, 9));
  comparisons.push_back(At(10, 9, 10));
  EXPECT_THAT(FormatCrossovers(comparisons),
              HasSubstr("faster at 1 KiB, 2 KiB, 3 KiB, 4 KiB, 5 KiB, 6 KiB and 3 more too"));
}

TEST(Crossovers, SayThatThereIsNone) {
  EXPECT_THAT(FormatCrossovers(std::vector{At(1, 1, 2)}),
              HasSubstr("one_shot is the fastest at every size\n"));
  EXPECT_THAT(FormatCrossovers(std::vector{At(1, 2, 1)}),
              HasSubstr("two_shot is the fastest at every size\n"));
  EXPECT_EQ(FormatCrossovers({}), "");
}

TEST(SweepJson, HasSizesAndCrossovers) {
  JsonWriter json;
  json.BeginObject();
  WriteSweep(std::vector{At(64, 10, 8)}, &json);
  json.EndObject();
  for (const char* part :
       {"\"sizes\": [", "\"bytes\": 65536", "\"type\": \"f32\"", "\"one_shot_us\": 10,",
        "\"two_shot_us\": 8,", "\"auto_us\": 10,", "\"auto_chose\": \"one_shot\"",
        "\"fastest\": \"two_shot\"", "\"auto_loss_percent\": 25", "\"crossovers\": [",
        "\"one_shot_fastest_bytes_max\": null", "\"two_shot_faster_below_bytes\": []",
        "\"auto_one_shot_bytes_max\": 65536", "\"auto_loss_percent_max\": 25",
        "\"auto_loss_bytes\": 65536"}) {
    EXPECT_THAT(json.text(), HasSubstr(part));
  }
}

}  // namespace
}  // namespace nodecomm::perf
