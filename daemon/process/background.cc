#include "daemon/process/background.h"

#include <pthread.h>

#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/base/status_macros.h"
#include "client/base/steady_wait.h"
#include "daemon/process/thread.h"

namespace nodecomm {
namespace {

constexpr absl::Duration kEndTimeout = absl::Seconds(1);

}  // namespace

struct Background::Queue {
  absl::Mutex mu;
  SteadyCondVar has_ended;
  std::deque<Task> tasks ABSL_GUARDED_BY(mu);
  bool ending ABSL_GUARDED_BY(mu) = false;
  bool ended ABSL_GUARDED_BY(mu) = false;

  bool HasNews() const ABSL_SHARED_LOCKS_REQUIRED(mu) { return ending || !tasks.empty(); }

  void Work() {
    while (true) {
      Task task;
      {
        absl::MutexLock lock(&mu);
        mu.Await(absl::Condition(this, &Queue::HasNews));
        if (tasks.empty()) {
          ended = true;
          has_ended.SignalAll();
          return;
        }
        task = std::move(tasks.front());
        tasks.pop_front();
      }
      std::move(task)();
    }
  }
};

absl::StatusOr<std::unique_ptr<Background>> Background::Start(const char* name) {
  auto queue = std::make_shared<Queue>();
  ABSL_ASSIGN_OR_RETURN(Thread thread, Thread::Start([queue] { queue->Work(); }));
  pthread_setname_np(thread.handle(), name);
  std::move(thread).Detach();
  return std::unique_ptr<Background>(new Background(std::move(queue)));
}

Background::~Background() {
  absl::MutexLock lock(&queue_->mu);
  queue_->ending = true;
  const auto ended = [this]() ABSL_SHARED_LOCKS_REQUIRED(queue_->mu) { return queue_->ended; };
  queue_->has_ended.Await(&queue_->mu, SteadyNow() + kEndTimeout, ended);
}

void Background::Run(Task task) {
  absl::MutexLock lock(&queue_->mu);
  queue_->tasks.push_back(std::move(task));
}

}  // namespace nodecomm
