// The page by which the daemon learns at once that a worker has died: its first word is a robust
// futex that a thread of the worker holds for as long as its session lives. Not a channel: nothing
// else is in it, and the daemon believes nothing of it but that the holder is gone. Design note:
// daemon/README.md, "death".
#pragma once

#include <cstddef>
#include <cstdint>

namespace nodecomm {

inline constexpr size_t kLivenessPageBytes = 4096;

// The word's bits, as the kernel's ABI for robust futexes has them (futex(2)): the holder's thread
// id, as the holder's PID namespace counts; somebody waits; the holder died. The kernel sets the
// last when the thread ends, long before the process's memory is taken down.
inline constexpr uint32_t kFutexThreadMask = 0x3fffffff;
inline constexpr uint32_t kFutexOwnerDied = 0x40000000;
inline constexpr uint32_t kFutexWaiters = 0x80000000;

}  // namespace nodecomm
