#include "client/session/liveness_lock.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstddef>

#include "proto/liveness_page.h"

namespace nodecomm {
namespace {

// The daemon looks at the page's first word, which in the C library's mutex is the futex.
static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0);
static_assert(sizeof(pthread_mutex_t) <= kLivenessPageBytes);

int InitRobust(pthread_mutex_t* mutex) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int error = pthread_mutex_init(mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  return error;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LivenessLock>> LivenessLock::Take(UniqueFd page_fd) {
  void* page =
      mmap(nullptr, kLivenessPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd.get(), 0);
  if (page == MAP_FAILED) return absl::ErrnoToStatus(errno, "mapping the liveness page");
  auto* mutex = static_cast<pthread_mutex_t*>(page);
  int error = InitRobust(mutex);
  if (error == 0) error = pthread_mutex_lock(mutex);
  if (error != 0) {
    munmap(page, kLivenessPageBytes);
    return absl::ErrnoToStatus(error, "locking the liveness page");
  }
  return std::unique_ptr<LivenessLock>(new LivenessLock(page));
}

LivenessLock::~LivenessLock() {
  // Before the unmapping: the C library keeps a list of the robust mutexes that a thread holds.
  pthread_mutex_unlock(static_cast<pthread_mutex_t*>(page_));
  munmap(page_, kLivenessPageBytes);
}

}  // namespace nodecomm
