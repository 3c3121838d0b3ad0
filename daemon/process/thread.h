// A thread whose start can fail. std::thread throws where the process is out of threads, which here
// would end the daemon.
#pragma once

#include <pthread.h>

#include <functional>
#include <utility>

#include "absl/status/statusor.h"

namespace nodecomm {

// Joins when it is destroyed.
class [[nodiscard]] Thread {
 public:
  static absl::StatusOr<Thread> Start(std::function<void()> run);

  Thread() = default;
  Thread(Thread&& other) noexcept
      : handle_(other.handle_), running_(std::exchange(other.running_, false)) {}
  Thread& operator=(Thread&& other) noexcept;
  ~Thread() { Join(); }

  pthread_t handle() const { return handle_; }
  void Join();
  void Detach() &&;

 private:
  explicit Thread(pthread_t handle) : handle_(handle), running_(true) {}

  pthread_t handle_{};
  bool running_ = false;
};

}  // namespace nodecomm
