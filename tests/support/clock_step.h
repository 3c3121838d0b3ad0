// The host's clock is put right, as this program sees it: its own functions add the step to the
// clock that can be set, and to no other. The kernel goes on by the host's, so that whoever gives
// it a time of the wall clock waits wrongly.
#pragma once

#include <time.h>

#include <atomic>

namespace nodecomm {

extern std::atomic<time_t> clock_step_seconds;

}  // namespace nodecomm
