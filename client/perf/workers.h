// Starts one process a rank and waits for all of them; none outlives the parent, none is waited for
// in vain. Knows nothing of what the workers do. Design note: client/perf/README.md, "processes".
#pragma once

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/base/quantities.h"
#include "client/perf/board.h"

namespace nodecomm::perf {

struct WorkerLimits {
  // The run fails if no rank makes progress (Board::NoteProgress) for so long.
  absl::Duration stall_max = absl::Minutes(3);
  // The same if a rank leaves its group meanwhile: the library waits for the daemon for 10 s at
  // most, and gRPC for ever for a thread that it could not make.
  absl::Duration leave_max = absl::Seconds(30);
  // Once a rank has failed, the others have so long to end by themselves.
  absl::Duration grace = absl::Seconds(10);
  // Those that are joining a group would wait for the failed one until their deadline, and have
  // nothing to leave in order: so long they have to say what they were refused for themselves.
  absl::Duration join_grace = absl::Milliseconds(500);
};

// Forks board->ranks() workers, each of which runs `work` with its rank and exits. `tick` is called
// in the parent every few milliseconds, and once after the end. Internal, with one line for each
// thing that failed, if a worker did or died. The caller must be single-threaded and must not have
// used CUDA or gRPC: neither survives a fork.
absl::Status RunWorkers(Board* board, const WorkerLimits& limits,
                        absl::FunctionRef<absl::Status(Rank)> work, absl::FunctionRef<void()> tick);

}  // namespace nodecomm::perf
