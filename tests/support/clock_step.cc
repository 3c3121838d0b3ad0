#include "tests/support/clock_step.h"

#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

namespace nodecomm {

std::atomic<time_t> clock_step_seconds = 0;

}  // namespace nodecomm

// Visible, so that they are the ones for libraries too.
extern "C" {

[[gnu::visibility("default")]] int clock_gettime(clockid_t clock, timespec* now) noexcept {
  const long result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += nodecomm::clock_step_seconds;
  return static_cast<int>(result);
}

[[gnu::visibility("default")]] int gettimeofday(timeval* now, void* /*zone*/) noexcept {
  timespec time = {};
  const int result = clock_gettime(CLOCK_REALTIME, &time);
  *now = {.tv_sec = time.tv_sec, .tv_usec = time.tv_nsec / 1000};
  return result;
}

}  // extern "C"
