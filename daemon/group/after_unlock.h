// What must happen only once the lock has been let go: callbacks, and the destruction of what
// closes fds. Not a queue between threads: it lives on one stack, declared before the lock, and
// acts when it goes out of scope.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"

namespace nodecomm {

class AfterUnlock {
 public:
  AfterUnlock() = default;
  AfterUnlock(const AfterUnlock&) = delete;
  AfterUnlock& operator=(const AfterUnlock&) = delete;
  ~AfterUnlock() {
    // Before the calls, so that whoever is told of an end finds the memory already given back.
    kept_.clear();
    for (auto& call : calls_) std::move(call)();
  }

  void Call(absl::AnyInvocable<void() &&> call) { calls_.push_back(std::move(call)); }

  template <typename T>
  void Destroy(T value) {
    kept_.push_back(std::make_shared<T>(std::move(value)));
  }

  bool empty() const { return calls_.empty() && kept_.empty(); }

 private:
  std::vector<absl::AnyInvocable<void() &&>> calls_;
  std::vector<std::shared_ptr<void>> kept_;
};

}  // namespace nodecomm
