// Whether this process may have what gRPC takes at its first calls: workers and nodecommctl look
// before they use it. Where it lacks a descriptor there it ends the process, and where it lacks a
// thread it waits for that for ever when its last connection ends. Not for the daemon, which has
// more to look at. Design note: client/base/README.md.
#pragma once

#include "absl/status/status.h"

namespace nodecomm {

// ResourceExhausted, with the limit to raise: it may not. Others of the user, or of the cgroup, may
// take it meanwhile.
absl::Status CheckRoomForGrpc();

// The same of descriptors alone, where gRPC has its threads already.
absl::Status CheckDescriptorsForGrpc();

}  // namespace nodecomm
