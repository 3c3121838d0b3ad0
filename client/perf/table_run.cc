// See table_run.h.
#include "client/perf/table_run.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"
#include "client/perf/nccl.h"

namespace nodecomm::perf {
namespace {

// Small messages are checked several in a row, with different data: one that took its neighbour's
// would show.
constexpr int kCallsCheckedSmall = 4;
constexpr int kCallsCheckedLarge = 1;
// Checks of a case, so many before the timing and as many after; each with data of its own.
constexpr int kChecksSmall = 2;
constexpr int kChecksLarge = 1;

ArenaLayout MakeLayout(const Case& c, const Options& options) {
  const Placement placement = options.in_place ? Placement::kInPlace : Placement::kOutOfPlace;
  const int calls = c.bytes() > kSmallMessageMax ? kCallsCheckedLarge : kCallsCheckedSmall;
  ArenaLayout layout({ArenaLayout::BytesNeeded(c.bytes(), placement).value * calls});
  for (int i = 0; i < calls; ++i) layout.Place(c.type, c.count, placement, 0, 0);
  return layout;
}

double Median(std::vector<double>& values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// A call's.
struct Times {
  double latency_us;
  double host_us;
};

class CaseRun {
 public:
  CaseRun(Worker* worker, const Case& c, size_t index)
      : worker_(worker), case_(c), index_(index), layout_(MakeLayout(c, worker->options())) {}

  // Wrong elements of a few checks; the same number each time.
  absl::StatusOr<uint64_t> Check() {
    if (!worker_->options().check) return 0;
    const int times = case_.bytes() > kSmallMessageMax ? kChecksLarge : kChecksSmall;
    uint64_t wrong = 0;
    if (worker_->mode() == Mode::kGraph && check_graph_ == nullptr) {
      ABSL_ASSIGN_OR_RETURN(
          check_graph_, worker_->device()->Capture([&] { return worker_->EnqueueAll(layout_); }));
    }
    for (int i = 0; i < times; ++i, ++checks_) {
      ChooseData();
      ABSL_RETURN_IF_ERROR(worker_->UploadArena(layout_));
      ABSL_RETURN_IF_ERROR(worker_->Barrier());
      ABSL_RETURN_IF_ERROR(check_graph_ != nullptr ? check_graph_->Launch()
                                                   : worker_->EnqueueAll(layout_));
      ABSL_ASSIGN_OR_RETURN(const uint64_t found, worker_->CountWrong(layout_));
      wrong += found;
    }
    return wrong;
  }

  // The medians of the repetitions, a call. `enqueue` puts one call on the stream.
  absl::StatusOr<Times> Time(absl::FunctionRef<absl::Status(const ArenaCall&)> enqueue) {
    // Sums of sums in place would run into infinity; zeros stay zeros.
    ABSL_RETURN_IF_ERROR(worker_->options().in_place ? worker_->UploadZeros(layout_)
                                                     : worker_->UploadArena(layout_));
    const int calls = worker_->effort().Calls(case_.bytes());
    const auto enqueue_all = [&] {
      for (int i = 0; i < calls; ++i) ABSL_RETURN_IF_ERROR(enqueue(layout_.calls()[0]));
      return absl::OkStatus();
    };
    std::unique_ptr<DeviceGraph> graph;
    if (worker_->mode() == Mode::kGraph) {
      ABSL_ASSIGN_OR_RETURN(graph, worker_->device()->Capture(enqueue_all));
    }
    const int warmup = worker_->effort().warmup;
    std::vector<double> latencies;
    std::vector<double> host_times;
    for (int i = 0; i < warmup + worker_->effort().Repetitions(case_.bytes()); ++i) {
      ABSL_RETURN_IF_ERROR(worker_->Barrier());
      absl::Duration on_host;
      ABSL_ASSIGN_OR_RETURN(const double time, worker_->device()->TimeUs([&] {
        const SteadyTime start = SteadyNow();
        absl::Status enqueued = graph != nullptr ? graph->Launch() : enqueue_all();
        on_host = SteadyNow() - start;
        return enqueued;
      }));
      if (i < warmup) continue;
      latencies.push_back(time / calls);
      host_times.push_back(absl::ToDoubleMicroseconds(on_host) / calls);
    }
    ABSL_RETURN_IF_ERROR(worker_->CheckGroup());
    return Times{.latency_us = Median(latencies), .host_us = Median(host_times)};
  }

 private:
  // No two checks of a run begin at the same element of the reference, and no two calls of a check.
  void ChooseData() {
    uint32_t step = static_cast<uint32_t>(index_) * 64 + static_cast<uint32_t>(checks_) * 8;
    for (ArenaCall& call : layout_.calls()) {
      // An odd factor reaches every first element once.
      call.first_element = ++step * 40503u % kFirstElementMax;
    }
  }

  Worker* const worker_;
  const Case case_;
  const size_t index_;
  ArenaLayout layout_;
  std::unique_ptr<DeviceGraph> check_graph_;
  int checks_ = 0;
};

// NCCL beside us; null, with a note on the board, where it is not found or does not serve the run.
struct NcclBeside {
  std::unique_ptr<Nccl> library;
  std::unique_ptr<NcclCommunicator> communicator;
};

absl::Status JoinNccl(Worker* worker, NcclBeside* nccl) {
  if (worker->platform() != NODECOMM_PLATFORM_CUDA) {
    return absl::FailedPreconditionError("NCCL needs GPUs; the daemon simulates its host");
  }
  ABSL_ASSIGN_OR_RETURN(nccl->library, Nccl::Load());
  if (worker->rank().value == 0) {
    ABSL_ASSIGN_OR_RETURN(worker->board()->nccl_id(), nccl->library->MakeId());
  }
  return absl::OkStatus();
}

// Fails only if the run has: without NCCL it goes on.
absl::Status PrepareNccl(Worker* worker, NcclBeside* nccl) {
  Board* board = worker->board();
  const absl::Status joined = JoinNccl(worker, nccl);
  board->nccl_ready(worker->rank()) = joined.ok() ? 1 : 0;
  if (worker->rank().value == 0) {
    board->facts().nccl.Set(joined.ok() ? nccl->library->Version() : joined.message());
  }
  ABSL_RETURN_IF_ERROR(worker->Barrier());
  for (int rank = 0; rank < board->ranks().value; ++rank) {
    if (board->nccl_ready(Rank{rank}) == 0) return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<NcclCommunicator>> communicator =
      NcclCommunicator::Create(*nccl->library, board->nccl_id(), worker->rank(), board->ranks());
  if (!communicator.ok()) board->nccl_ready(worker->rank()) = 0;
  ABSL_RETURN_IF_ERROR(worker->Barrier());
  for (int rank = 0; rank < board->ranks().value; ++rank) {
    if (board->nccl_ready(Rank{rank}) != 0) continue;
    if (worker->rank().value == 0) {
      board->facts().nccl.Set(communicator.ok() ? "NCCL failed on another rank"
                                                : communicator.status().message());
    }
    return absl::OkStatus();
  }
  nccl->communicator = *std::move(communicator);
  return absl::OkStatus();
}

absl::Status RequireSupport(Worker* worker, const Case& c) {
  const char* reason = "";
  if (nodecomm_comm_supports(worker->comm(), c.bytes().value, c.type, &reason) != 0) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrFormat("%d bytes of %s are not served: %s",
                                                       c.bytes().value, TypeName(c.type), reason));
}

absl::Status RunCase(Worker* worker, const NcclBeside& nccl, const Case& c, size_t index) {
  ABSL_RETURN_IF_ERROR(RequireSupport(worker, c));
  Row& row = worker->board()->row(index);
  Measurement& measurement = row.measurements[worker->rank().value];
  if (worker->rank().value == 0) {
    row.algorithm = nodecomm_comm_algorithm(worker->comm(), c.bytes().value, c.type);
  }
  CaseRun run(worker, c, index);
  ABSL_ASSIGN_OR_RETURN(const uint64_t wrong_before, run.Check());
  ABSL_ASSIGN_OR_RETURN(const Times ours,
                        run.Time([&](const ArenaCall& call) { return worker->Enqueue(call); }));
  measurement.latency_us = ours.latency_us;
  // A simulated host's calls return when they are done; a graph's launch is not ours.
  if (worker->mode() == Mode::kEager && worker->platform() == NODECOMM_PLATFORM_CUDA) {
    measurement.host_us = ours.host_us;
  }
  ABSL_ASSIGN_OR_RETURN(const uint64_t wrong_after, run.Check());
  measurement.wrong = wrong_before + wrong_after;
  if (nccl.communicator != nullptr) {
    ABSL_ASSIGN_OR_RETURN(const Times theirs, run.Time([&](const ArenaCall& call) {
      return nccl.communicator->AllReduce(worker->At(call.in_offset), worker->At(call.out_offset),
                                          call.count, call.type, worker->device()->stream());
    }));
    measurement.nccl_latency_us = theirs.latency_us;
  }
  row.ranks_done.fetch_add(1, std::memory_order_release);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunTable(Worker* worker, std::span<const Case> cases, size_t first_row) {
  ByteCount arena{0};
  for (const Case& c : cases) {
    arena = std::max(arena, MakeLayout(c, worker->options()).used());
  }
  ABSL_RETURN_IF_ERROR(worker->ReserveArena(arena));
  NcclBeside nccl;
  if (worker->options().compare_nccl) ABSL_RETURN_IF_ERROR(PrepareNccl(worker, &nccl));
  ABSL_RETURN_IF_ERROR(worker->Barrier());
  if (worker->rank().value == 0) {
    worker->board()->facts().ready.store(1, std::memory_order_release);
  }
  for (size_t i = 0; i < cases.size(); ++i) {
    ABSL_RETURN_IF_ERROR(RunCase(worker, nccl, cases[i], first_row + i));
  }
  return absl::OkStatus();
}

}  // namespace nodecomm::perf
