// A thread for what may block, perhaps for ever, and must not hold up who asks for it: tasks are
// done one after another. Not a pool. Its end is bounded: a thread that is stuck is left behind.
#pragma once

#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nodecomm {

// Thread-safe. What tasks use must outlive a thread that was left behind: they own it or share it.
class Background {
 public:
  using Task = absl::AnyInvocable<void() &&>;

  // ResourceExhausted and the like: no thread is to be had. `name`: at most 15 characters.
  static absl::StatusOr<std::unique_ptr<Background>> Start(const char* name);
  // Waits, a second at most, until what was asked for is done.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // Never waits. How many tasks there may be is for the caller to bound.
  void Run(Task task);

 private:
  struct Queue;
  explicit Background(std::shared_ptr<Queue> queue) : queue_(std::move(queue)) {}

  const std::shared_ptr<Queue> queue_;
};

}  // namespace nodecomm
