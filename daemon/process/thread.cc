#include "daemon/process/thread.h"

#include <memory>

namespace nodecomm {
namespace {

void* RunAndForget(void* run) {
  const std::unique_ptr<std::function<void()>> owned(static_cast<std::function<void()>*>(run));
  (*owned)();
  return nullptr;
}

}  // namespace

absl::StatusOr<Thread> Thread::Start(std::function<void()> run) {
  auto owned = std::make_unique<std::function<void()>>(std::move(run));
  pthread_t handle;
  const int error = pthread_create(&handle, nullptr, &RunAndForget, owned.get());
  if (error != 0) return absl::ErrnoToStatus(error, "starting a thread");
  static_cast<void>(owned.release());  // the thread's from here on
  return Thread(handle);
}

Thread& Thread::operator=(Thread&& other) noexcept {
  if (this == &other) return *this;
  Join();
  handle_ = other.handle_;
  running_ = std::exchange(other.running_, false);
  return *this;
}

void Thread::Join() {
  if (std::exchange(running_, false)) pthread_join(handle_, nullptr);
}

void Thread::Detach() && {
  if (std::exchange(running_, false)) pthread_detach(handle_);
}

}  // namespace nodecomm
