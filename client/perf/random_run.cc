// See random_run.h.
#include "client/perf/random_run.h"

#include <memory>

#include "absl/time/clock.h"
#include "client/base/status_macros.h"
#include "client/perf/random_calls.h"

namespace nodecomm::perf {
namespace {

// A captured batch is replayed this often, with other data each time.
constexpr int kReplays = 2;

// Whether a batch's calls are captured: as the dice say, unless the command line or the platform
// does.
bool UseGraph(const Worker& worker, const Batch& batch) {
  if (worker.platform() != NODECOMM_PLATFORM_CUDA) return false;
  return worker.options().mode ? *worker.options().mode == Mode::kGraph : batch.graph;
}

absl::Status RunBatch(Worker* worker, uint64_t index) {
  const uint64_t seed = worker->options().seed;
  Batch batch = MakeBatch(seed, index, worker->rank());
  std::unique_ptr<DeviceGraph> graph;
  if (UseGraph(*worker, batch)) {
    ABSL_ASSIGN_OR_RETURN(
        graph, worker->device()->Capture([&] { return worker->EnqueueAll(batch.layout); }));
  }
  Board* board = worker->board();
  for (int round = 0; round < (graph != nullptr ? kReplays : 1); ++round) {
    ChooseData(seed, index, round, &batch.layout);
    ABSL_RETURN_IF_ERROR(worker->UploadArena(batch.layout));
    absl::SleepFor(ChooseDelay(seed, index, round, worker->rank()));
    ABSL_RETURN_IF_ERROR(graph != nullptr ? graph->Launch() : worker->EnqueueAll(batch.layout));
    ABSL_ASSIGN_OR_RETURN(const uint64_t wrong, worker->CountWrong(batch.layout));
    board->random_wrong(worker->rank()) += wrong;
    board->NoteProgress();
    if (worker->rank().value == 0) board->random_calls_done() += batch.layout.calls().size();
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunRandomCalls(Worker* worker) {
  ABSL_RETURN_IF_ERROR(worker->ReserveArena(BatchArenaBytes()));
  ABSL_RETURN_IF_ERROR(worker->Barrier());
  if (worker->rank().value == 0) {
    worker->board()->facts().ready.store(1, std::memory_order_release);
  }
  // Every rank counts the same calls, so all end with the same batch.
  uint64_t done = 0;
  for (uint64_t index = 0; done < worker->options().random_calls; ++index) {
    const Batch batch = MakeBatch(worker->options().seed, index, worker->rank());
    const size_t rounds = UseGraph(*worker, batch) ? kReplays : 1;
    ABSL_RETURN_IF_ERROR(RunBatch(worker, index));
    done += batch.layout.calls().size() * rounds;
  }
  return absl::OkStatus();
}

}  // namespace nodecomm::perf
