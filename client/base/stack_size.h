// Stacks that are large enough whatever the limit that the process was started with: the main
// thread's grows up to RLIMIT_STACK, and glibc takes that limit, as it was at the start, for the
// threads of libraries, too. For programs, at the start of main: a library does not change its
// process. Design note: client/base/README.md.
#pragma once

#include "absl/status/status.h"

namespace nodecomm {

// Before any thread is started. ResourceExhausted: the hard limit is too low.
absl::Status MakeRoomForStacks();

}  // namespace nodecomm
