// One rank as a process of its own: the test program, run again with arguments that say so. For
// what a process decides: which GPUs it sees, and on which it has a context.
#pragma once

#include <string>

#include "tests/gpu/rank_checks.h"

namespace nodecomm {

enum class WorkerCheck {
  kSeesOneGpu,       // sums and shared buffers, with peers whose GPUs it does not see
  kMakesOneContext,  // sees all GPUs, and has a context on its own alone
};

// `gpus`: CUDA_VISIBLE_DEVICES of the new process; empty: as here. Its pid, or -1.
pid_t StartWorker(WorkerCheck check, const RankSpec& spec, const std::string& runtime_dir,
                  const std::string& gpus);

// Whether the process found everything right. It ends itself after a minute.
bool WorkerSucceeded(pid_t pid);

// Whether these arguments are those of a worker.
bool IsWorker(int argc, char** argv);

// The worker's main; its exit code.
int RunWorker(char** argv);

}  // namespace nodecomm
