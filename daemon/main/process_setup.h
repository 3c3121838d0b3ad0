// What a long-lived process asks of its environment before it opens anything.
// Not about signals (signals.h).
#pragma once

#include "absl/status/status.h"

namespace nodecomm {

// Opens /dev/null for standard streams that are closed, so that a socket never becomes one and
// receives the log.
void OpenMissingStandardStreams();

// Keeps the heap in few arenas: glibc would give each of gRPC's threads its own, dozens on a large
// host, for a process that allocates little.
void BoundHeapArenas();

// Raises the soft limit on file descriptors to the hard one: every worker costs five, every group
// two and every plane one.
absl::Status RaiseFileLimit();

// Whether this process may have the threads, descriptors and files that it takes at least. Without
// the first two gRPC ends it later and says nothing of the cause. ResourceExhausted.
absl::Status CheckLimits();

}  // namespace nodecomm
