// The table and the JSON document, from a board filled in by hand.
// See client/perf/report.h.
// Design note: client/perf/README.md.
#include "client/perf/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nodecomm::perf {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ReportTest : public ::testing::Test {
 protected:
  ReportTest() {
    options_.ranks = WorldSize{4};
    options_.check = true;
    RunFacts& facts = board_->facts();
    facts.platform = NODECOMM_PLATFORM_CUDA;
    facts.mode = Mode::kGraph;
    facts.calls_small = 100;
    facts.calls_large = 20;
    facts.repetitions_small = 20;
    facts.repetitions_large = 8;
    facts.devices = 4;
    facts.driver.Set("580.1 (CUDA 13.0)");
    for (int rank = 0; rank < 4; ++rank) {
      board_->gpu_name(Rank{rank}).Set("GPU \"X\"");
      board_->row(0).measurements[rank] = {
          .latency_us = 10.0 + rank, .nccl_latency_us = 0, .wrong = 0};
    }
    board_->row(0).algorithm = NODECOMM_ALGORITHM_TWO_SHOT;
  }

  const std::unique_ptr<Board> board_ = *Board::Create(WorldSize{4});
  Options options_;
  const Case case_{NODECOMM_BFLOAT16, 1 << 19};
  const std::vector<Case> cases_{case_};
  const HostFacts host_{"box", "Linux 6", 8, "2026-01-01T00:00:00Z"};
};

TEST_F(ReportTest, RowsShowWhatWasMeasured) {
  EXPECT_EQ(FormatRow(options_, case_, board_->row(0)),
            "     1048576      524288   bf16   two_shot       13.00    80.66   120.99       0\n");
}

TEST_F(ReportTest, UncheckedRowsDoNotClaimToBeRight) {
  options_.check = false;
  EXPECT_THAT(FormatRow(options_, case_, board_->row(0)), HasSubstr("N/A"));
  EXPECT_THAT(FormatJson(options_, host_, "1", *board_, cases_), HasSubstr("\"wrong\": null"));
}

TEST_F(ReportTest, NcclStandsBesideWithTheRatio) {
  options_.compare_nccl = true;
  board_->row(0).measurements[2].nccl_latency_us = 26;
  EXPECT_THAT(FormatRow(options_, case_, board_->row(0)), HasSubstr("26.00   2.00x"));
  EXPECT_THAT(FormatJson(options_, host_, "1", *board_, cases_),
              HasSubstr("\"nccl_latency_us\": 26"));
}

TEST_F(ReportTest, EagerCallsSayHowLongTheyKeepTheCaller) {
  EXPECT_THAT(FormatHeader(options_, *board_), Not(HasSubstr("host")));
  board_->facts().mode = Mode::kEager;
  EXPECT_THAT(FormatHeader(options_, *board_), HasSubstr("#wrong     host\n"));
  board_->row(0).measurements[1].host_us = 2.5;
  board_->row(0).measurements[3].host_us = 2.75;
  EXPECT_THAT(FormatRow(options_, case_, board_->row(0)), HasSubstr("       0     2.75\n"));
  EXPECT_THAT(FormatJson(options_, host_, "1", *board_, cases_), HasSubstr("\"host_us\": 2.75"));
}

TEST_F(ReportTest, HeaderNamesCallsRepetitionsAndMode) {
  const std::string header = FormatHeader(options_, *board_);
  EXPECT_THAT(header,
              HasSubstr("mode graph, out of place; 100 calls a repetition up to 1 MiB, 20 above"));
  EXPECT_THAT(header, HasSubstr("median of 20 repetitions, 8 above; maximum over ranks"));
  EXPECT_THAT(header, HasSubstr("driver 580.1 (CUDA 13.0)"));
  EXPECT_THAT(header, Not(HasSubstr("take turns")));
}

TEST_F(ReportTest, HeaderSaysWhenTimesMeanNothing) {
  board_->facts().devices = 2;
  EXPECT_THAT(FormatHeader(options_, *board_), HasSubstr("take turns"));
  board_->facts().platform = NODECOMM_PLATFORM_SIMULATED;
  EXPECT_THAT(FormatHeader(options_, *board_), HasSubstr("the times say nothing about GPUs"));
}

TEST_F(ReportTest, JsonHasTheAgreedMembers) {
  const std::string json = FormatJson(options_, host_, "0.1.0 (commit x)", *board_, cases_);
  for (const char* part :
       {"\"host\": {", "\"machine\": \"box\"", "\"gpus\": [\n      \"GPU \\\"X\\\"\"",
        "\"nodecomm_version\": \"0.1.0 (commit x)\"", "\"platform\": \"cuda\"",
        "\"calls_per_repetition_up_to_1_mib\": 100", "\"results\": [", "\"ranks\": 4",
        "\"bytes\": 1048576", "\"type\": \"bf16\"", "\"mode\": \"graph\"",
        "\"requested\": \"auto\"", "\"algorithm\": \"two_shot\"", "\"latency_us\": 13,",
        "\"algbw_gbps\": 80.6597", "\"busbw_gbps\": 120.99", "\"wrong\": 0"}) {
    EXPECT_THAT(json, HasSubstr(part));
  }
  EXPECT_THAT(json, Not(HasSubstr("\"random\"")));
  EXPECT_THAT(json, Not(HasSubstr("\"sweep\"")));
}

TEST_F(ReportTest, ASweepHasItsOwnHeadAndPartOfTheJson) {
  options_.sweep = true;
  EXPECT_THAT(FormatHeader(options_, *board_), HasSubstr("fastest"));
  std::vector<Case> cases(3, case_);
  cases[1].requested = NODECOMM_ALGORITHM_ONE_SHOT;
  cases[2].requested = NODECOMM_ALGORITHM_TWO_SHOT;
  const std::string json = FormatJson(options_, host_, "1", *board_, cases);
  EXPECT_THAT(json, HasSubstr("\"requested\": \"one_shot\""));
  EXPECT_THAT(json, HasSubstr("\"auto_chose\": \"two_shot\""));
}

TEST_F(ReportTest, JsonOfRandomCallsCountsThem) {
  options_.random_calls = 10;
  options_.seed = 42;
  board_->random_calls_done() = 12;
  board_->random_wrong(Rank{1}) = 3;
  const std::string json = FormatJson(options_, host_, "1", *board_, {});
  EXPECT_THAT(json, HasSubstr("\"results\": []"));
  EXPECT_THAT(json, HasSubstr("\"calls\": 12,\n    \"seed\": 42,\n    \"wrong\": 3"));
}

}  // namespace
}  // namespace nodecomm::perf
