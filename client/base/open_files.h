// How many files the daemon must be able to open: it says so in its log, and the doctor after it.
// Not what it has open (daemon/process), nor whom it refuses (daemon/session). Design note:
// client/base/README.md.
#pragma once

#include <cstdint>

namespace nodecomm {

// Of a worker: its socket, its pidfd, its liveness page, and two of its calls.
inline constexpr int kOpenFilesOfAWorker = 5;

// Workers may have three quarters of all.
constexpr int64_t OpenFilesForSessions(int sessions) { return int64_t{sessions} * 7; }

}  // namespace nodecomm
