// Chooses random calls: the same on every rank but for what a rank may choose alone (placement and
// alignment of its buffers). Pure; what makes the calls is random_run.h. Design note:
// client/perf/README.md, "random calls".
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "client/base/quantities.h"
#include "client/perf/arena.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

inline constexpr ByteCount kRandomMessageMax = 4_MiB;
// Calls of a batch follow each other without waiting; their buffers lie in one arena.
inline constexpr int kBatchCallsMax = 8;
inline constexpr ByteCount kBatchBytesMax = 8_MiB;

struct Batch {
  bool graph = false;
  ArenaLayout layout;
};

// Size of an arena that holds any batch.
ByteCount BatchArenaBytes();

// Batch number `index` of `seed`, as `rank` places it; first elements are those of round 0.
Batch MakeBatch(uint64_t seed, uint64_t index, Rank rank);

// How late `rank` begins this round of the batch: mostly not at all, at times up to 10 ms, in which
// its peers' kernels wait.
absl::Duration ChooseDelay(uint64_t seed, uint64_t index, int round, Rank rank);

// Gives the batch's calls other data, the same on every rank.
void ChooseData(uint64_t seed, uint64_t index, int round, ArenaLayout* layout);

}  // namespace nodecomm::perf
