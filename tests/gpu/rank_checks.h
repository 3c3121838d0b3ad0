// What one rank checks of its communicator on the current device, in a thread or in a process of
// its own. The same checks are made on every rank at the same time; failures are GoogleTest's.
#pragma once

#include "nodecomm/nodecomm.hpp"
#include "tests/gpu/cuda_objects.h"

namespace nodecomm {

struct RankSpec {
  int rank = 0;
  int world_size = 0;
  int device = 0;
};

// Every wait of a group with these is bounded by seconds.
Options RankOptions(const RankSpec& spec, const std::string& name, const std::string& runtime_dir);

// Returns when every rank has called it. Fails the test if the call does not succeed.
void MeetOthers(Communicator& comm, int world_size, const Workspace& work);

// All-reduces of a small and a large message.
void ExpectSums(Communicator& comm, const RankSpec& spec, const Workspace& work);

// Shared buffers: zero at first; what each rank writes into all of them is what their owners read.
void ExpectSharedBuffers(Communicator& comm, const RankSpec& spec, const Workspace& work);

}  // namespace nodecomm
