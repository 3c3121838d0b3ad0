// What is drawn of a JSON document, as FormatJson writes it and as it may come from elsewhere.
// See client/perf/chart_from_json.h.
// Design note: client/perf/README.md, "picture".
#include "client/perf/chart_from_json.h"

#include "client/perf/report.h"
#include "client/perf/sizes.h"
#include "tests/support/status_matchers.h"

namespace nodecomm::perf {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

class ChartFromJsonTest : public ::testing::Test {
 protected:
  ChartFromJsonTest() {
    options_.ranks = WorldSize{4};
    options_.bytes_max = 4_KiB;
    options_.types = {NODECOMM_BFLOAT16};
    RunFacts& facts = board_->facts();
    facts.platform = NODECOMM_PLATFORM_CUDA;
    facts.mode = Mode::kGraph;
    facts.devices = 4;
    facts.nccl.Set("2.28.9");
    for (int rank = 0; rank < 4; ++rank) board_->gpu_name(Rank{rank}).Set("NVIDIA \"X\"");
  }

  // Row i takes 1 + i us, with NCCL 10 more if that is compared and auto asked for.
  absl::StatusOr<Chart> ReadRun() {
    const std::vector<Case> cases = *ListCases(options_);
    for (size_t i = 0; i < cases.size(); ++i) {
      Measurement& measurement = board_->row(i).measurements[0];
      measurement.latency_us = 1.0 + static_cast<double>(i);
      const bool beside = options_.compare_nccl && cases[i].requested == NODECOMM_ALGORITHM_AUTO;
      measurement.nccl_latency_us = beside ? measurement.latency_us + 10 : 0;
    }
    return ReadChart(FormatJson(options_, HostFacts{}, "1", *board_, cases));
  }

  const std::unique_ptr<Board> board_ = *Board::Create(WorldSize{4});
  Options options_;
};

TEST_F(ChartFromJsonTest, DrawsWhatARunMeasured) {
  const auto chart = ReadRun();
  ASSERT_THAT(chart, IsOk());
  EXPECT_EQ(chart->title, "All-reduce latency, 4 x NVIDIA \"X\"");
  EXPECT_EQ(chart->subtitle, "bf16; graph mode");
  EXPECT_EQ(chart->note, "");
  ASSERT_EQ(chart->series.size(), 1u);
  EXPECT_EQ(chart->series[0].name, "nodecomm");
  ASSERT_EQ(chart->series[0].points.size(), 3u);
  EXPECT_EQ(chart->series[0].points[1].bytes, 2048);
  EXPECT_EQ(chart->series[0].points[1].latency_us, 2);
}

TEST_F(ChartFromJsonTest, DrawsNcclBeside) {
  options_.compare_nccl = true;
  const auto chart = ReadRun();
  ASSERT_THAT(chart, IsOk());
  EXPECT_EQ(chart->subtitle, "bf16; graph mode; NCCL 2.28.9");
  ASSERT_EQ(chart->series.size(), 2u);
  EXPECT_EQ(chart->series[1].name, "NCCL");
  EXPECT_EQ(chart->series[1].subject, Subject::kNccl);
  EXPECT_EQ(chart->series[1].points[2].latency_us, 13);
}

TEST_F(ChartFromJsonTest, DrawsEveryAlgorithmAndTypeOfASweep) {
  options_.sweep = true;
  options_.compare_nccl = true;
  options_.types = {NODECOMM_FLOAT32, NODECOMM_BFLOAT16};
  const auto chart = ReadRun();
  ASSERT_THAT(chart, IsOk());
  std::vector<std::string> names;
  for (const Series& series : chart->series) {
    names.push_back(series.name);
    EXPECT_EQ(series.points.size(), 5u);
    EXPECT_EQ(series.dashes, series.name.ends_with("bf16") ? 1 : 0);
  }
  EXPECT_THAT(names,
              ::testing::UnorderedElementsAre(
                  "nodecomm f32", "nodecomm bf16", "NCCL f32", "NCCL bf16", "nodecomm one_shot f32",
                  "nodecomm one_shot bf16", "nodecomm two_shot f32", "nodecomm two_shot bf16"));
  EXPECT_EQ(chart->subtitle, "f32, bf16; graph mode; NCCL 2.28.9");
}

TEST_F(ChartFromJsonTest, SaysWhenTimesMeanNothing) {
  board_->facts().devices = 2;
  EXPECT_EQ(ReadRun()->title, "All-reduce latency, 4 ranks on NVIDIA \"X\"");
  EXPECT_THAT(ReadRun()->note, HasSubstr("take turns"));
  board_->facts().platform = NODECOMM_PLATFORM_SIMULATED;
  EXPECT_EQ(ReadRun()->title, "All-reduce latency, 4 ranks on a simulated host");
  EXPECT_THAT(ReadRun()->note, HasSubstr("the times say nothing about GPUs"));
}

TEST(ReadChart, ReadsDocumentsOfBeforeTheSweep) {
  const auto chart = ReadChart(R"({"host": {"gpus": ["A", "B", "A"]},
      "results": [{"bytes": 64, "type": "f32", "mode": "eager", "algorithm": "one_shot",
                   "latency_us": 2.5, "wrong": null}]})");
  ASSERT_THAT(chart, IsOk());
  EXPECT_EQ(chart->title, "All-reduce latency, 2 x A + 1 x B");
  EXPECT_EQ(chart->series[0].subject, Subject::kAuto);
}

TEST(ReadChart, LeavesOutWhatWasNotMeasured) {
  const auto chart = ReadChart(R"({"results": [{"bytes": 64, "latency_us": 0},
      {"bytes": 0, "latency_us": 1}, {"bytes": 64, "latency_us": null},
      {"bytes": 64, "latency_us": "fast"}, {"bytes": 64, "latency_us": 1}]})");
  ASSERT_THAT(chart, IsOk());
  ASSERT_EQ(chart->series.size(), 1u);
  EXPECT_EQ(chart->series[0].points.size(), 1u);
}

TEST(ReadChart, RefusesWhatCannotBeDrawn) {
  for (const char* text : {"", "{", "[]", "no", "{\"a\": }"}) {
    EXPECT_THAT(ReadChart(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
  for (const char* text : {"{}", R"({"results": []})", R"({"results": 1})",
                           R"({"random": {"calls": 3}})", R"({"results": [1, "a", null]})"}) {
    EXPECT_THAT(ReadChart(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no results")))
        << text;
  }
  EXPECT_THAT(ReadChart(R"({"results": [{"bytes": 64, "requested": "ring", "latency_us": 1}]})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"ring\"")));
}

}  // namespace
}  // namespace nodecomm::perf
