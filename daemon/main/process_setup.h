// What a long-lived process asks of its environment before it opens anything.
// Not about signals (signals.h).
#pragma once

#include <algorithm>

#include "absl/status/status.h"
#include "client/base/spare_threads.h"
#include "daemon/service/user_servers.h"

namespace nodecomm {

// Keeps the heap in few arenas: glibc would give each of gRPC's threads its own, dozens on a large
// host, for a process that allocates little.
void BoundHeapArenas();

// Raises the soft limit on file descriptors to the hard one: every worker costs five, every group
// two and every plane one.
absl::Status RaiseFileLimit();

// The threads that a daemon at work takes on a host of so many processors, beside the two that it
// has when it looks. gRPC 1.51 has its pool for events, half as many for calls, and makes more of a
// third kind when it is busy. A daemon that nobody used had 12 beside the first two kinds, and one
// that served 8 ranks, proved 8 GPUs' pairs and answered 24 administrators up to 27, on a machine
// with 2 processors that said that it had 1 to 256 (2026-11-27), with one server for workers. Each
// further server has a thread.
constexpr int ThreadsWanted(int processors) {
  constexpr int kOtherThreads = 27 + 3 + static_cast<int>(kControlServers) - 1;
  const int events = EventThreadsOfGrpc(processors);
  return events + std::max(events / 2, 2) + kOtherThreads;
}

// Whether this process may have the threads, descriptors and files that it takes at least. Without
// the first two gRPC ends it later and says nothing of the cause. ResourceExhausted.
absl::Status CheckLimits();

}  // namespace nodecomm
