// See run.h.
#include "client/perf/run.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/standard_streams.h"
#include "client/base/status_macros.h"
#include "client/perf/board.h"
#include "client/perf/expected_sums.h"
#include "client/perf/files.h"
#include "client/perf/plot.h"
#include "client/perf/random_calls.h"
#include "client/perf/random_run.h"
#include "client/perf/report.h"
#include "client/perf/result.h"
#include "client/perf/sizes.h"
#include "client/perf/sweep_report.h"
#include "client/perf/table_run.h"
#include "client/perf/worker.h"
#include "client/perf/workers.h"

namespace nodecomm::perf {
namespace {

// What is lost is spoken of at the end (main.cc).
void Print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  FlushStandardOutput().IgnoreError();
}

absl::StatusOr<SumsMemory> CreateSums(const Options& options) {
  if (options.random_calls > 0) {
    return SumsMemory::Create({NODECOMM_FLOAT32, NODECOMM_FLOAT16, NODECOMM_BFLOAT16},
                              kRandomMessageMax);
  }
  if (!options.check) return SumsMemory::Create({}, {0});
  return SumsMemory::Create(options.types, options.bytes_max);
}

// Prints what has become known since the last call.
class Progress {
 public:
  Progress(const Options& options, const std::vector<Case>& cases, Board* board)
      : options_(options), cases_(cases), board_(board) {}

  void Print() {
    if (board_->facts().ready.load(std::memory_order_acquire) == 0) return;
    if (!header_printed_) perf::Print(FormatHeader(options_, *board_));
    header_printed_ = true;
    const size_t rows_before = rows_;
    for (; rows_ < cases_.size(); ++rows_) {
      const Row& row = board_->row(rows_);
      if (row.ranks_done.load(std::memory_order_acquire) < options_.ranks.value) break;
      if (!options_.sweep) perf::Print(FormatRow(options_, cases_[rows_], row));
    }
    if (options_.sweep && rows_ > rows_before) PrintComparisons();
  }
  std::span<const Case> complete() const { return std::span(cases_).first(rows_); }

 private:
  void PrintComparisons() {
    const std::vector<Comparison> comparisons =
        CompareAlgorithms(complete(), options_.ranks, *board_);
    for (; comparisons_ < comparisons.size(); ++comparisons_) {
      perf::Print(FormatSweepRow(options_, comparisons[comparisons_]));
    }
  }

  const Options& options_;
  const std::vector<Case>& cases_;
  Board* const board_;
  bool header_printed_ = false;
  size_t rows_ = 0;
  size_t comparisons_ = 0;
};

// What one group measures: cases that ask for the same algorithm. Random calls have none.
struct Pass {
  nodecomm_algorithm algorithm;
  size_t first_row;
  std::span<const Case> cases;
};

std::vector<Pass> ListPasses(const Options& options, std::span<const Case> cases) {
  if (cases.empty()) return {Pass{options.algorithm, 0, {}}};
  std::vector<Pass> passes;
  for (size_t first = 0, end = 0; first < cases.size(); first = end) {
    const nodecomm_algorithm algorithm = cases[first].requested;
    while (end < cases.size() && cases[end].requested == algorithm) ++end;
    passes.push_back({algorithm, first, cases.subspan(first, end - first)});
  }
  return passes;
}

absl::Status RunPass(const Options& options, const Pass& pass, const std::string& group,
                     const SumsMemory& sums, Board* board, Rank rank) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Worker> worker,
                        Worker::Create(options, group, rank, board, &sums));
  absl::Status status = options.random_calls > 0
                            ? RunRandomCalls(worker.get())
                            : RunTable(worker.get(), pass.cases, pass.first_row);
  // Leaving before the others have asked for the group's state would show there.
  if (status.ok()) status = worker->Barrier();
  // Before the worker ends, which depends on whether the run has failed.
  if (!status.ok() && !absl::IsAborted(status)) board->ReportFailure(rank, status.message());
  return status;
}

absl::Status RunRank(const Options& options, const std::string& group, const SumsMemory& sums,
                     const std::vector<Case>& cases, Board* board, Rank rank) {
  sums.FillPart(rank, options.ranks);
  // The sums are complete for everybody after this, and no rank's share counts as time for joining.
  ABSL_RETURN_IF_ERROR(board->Barrier(kBarrierTimeout));
  for (const Pass& pass : ListPasses(options, cases)) {
    Options of_pass = options;
    of_pass.algorithm = pass.algorithm;
    // NCCL is the same whatever we do.
    of_pass.compare_nccl = options.compare_nccl && pass.first_row == 0;
    // A rank may still be leaving the group before when another joins the next.
    const std::string name =
        options.sweep ? absl::StrCat(group, "-", nodecomm_algorithm_name(pass.algorithm)) : group;
    ABSL_RETURN_IF_ERROR(RunPass(of_pass, pass, name, sums, board, rank));
  }
  return absl::OkStatus();
}

// Wrong elements of all ranks; prints the first of each.
uint64_t ReportWrong(const Options& options, size_t rows, Board* board) {
  uint64_t wrong = 0;
  for (size_t i = 0; i < rows; ++i) wrong += Combine(board->row(i), options.ranks).wrong;
  for (int rank = 0; rank < options.ranks.value; ++rank) {
    wrong += board->random_wrong(Rank{rank});
    const absl::string_view first = board->first_wrong(Rank{rank}).Get();
    if (!first.empty()) Print(absl::StrCat("# first wrong: ", first, "\n"));
  }
  return wrong;
}

}  // namespace

absl::Status Run(const Options& options) {
  // Rather than lose a long run's results at its end.
  for (const std::string& path : {options.json_path, options.plot_path}) {
    if (!path.empty()) ABSL_RETURN_IF_ERROR(CheckWritable(path));
  }
  std::vector<Case> cases;
  if (options.random_calls == 0) {
    ABSL_ASSIGN_OR_RETURN(cases, ListCases(options));
  }
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Board> board, Board::Create(options.ranks));
  ABSL_ASSIGN_OR_RETURN(const SumsMemory sums, CreateSums(options));
  // Unique among the groups of this user while this process lives.
  const std::string group = absl::StrCat("nodecomm-perf-", ::getpid());

  Progress progress(options, cases, board.get());
  const absl::Status ran = RunWorkers(
      board.get(), WorkerLimits{},
      [&](Rank rank) { return RunRank(options, group, sums, cases, board.get(), rank); },
      [&] { progress.Print(); });

  const uint64_t wrong = ReportWrong(options, progress.complete().size(), board.get());
  if (options.random_calls > 0 && ran.ok()) {
    Print(absl::StrFormat("# %d random calls with %d ranks, seed %d: %d wrong elements\n",
                          board->random_calls_done().load(), options.ranks.value, options.seed,
                          wrong));
  }
  if (options.sweep) {
    Print(FormatCrossovers(CompareAlgorithms(progress.complete(), options.ranks, *board)));
  }
  const std::string json =
      FormatJson(options, ReadHostFacts(), nodecomm_version(), *board, progress.complete());
  if (!options.json_path.empty()) ABSL_RETURN_IF_ERROR(WriteFile(options.json_path, json));
  ABSL_RETURN_IF_ERROR(ran);
  if (wrong > 0) return absl::DataLossError(absl::StrFormat("%d wrong elements", wrong));
  return options.plot_path.empty() ? absl::OkStatus() : WritePlot(json, options.plot_path);
}

}  // namespace nodecomm::perf
