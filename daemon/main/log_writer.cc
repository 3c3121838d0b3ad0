#include "daemon/main/log_writer.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <deque>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "client/base/status_macros.h"
#include "daemon/process/thread.h"

namespace nodecomm {
namespace {

// Nobody is told of errors: there is nowhere to write them.
void WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put > 0) {
      text.remove_prefix(static_cast<size_t>(put));
    } else if (put < 0 && errno == EAGAIN) {
      pollfd writable = {.fd = fd, .events = POLLOUT, .revents = 0};
      poll(&writable, 1, -1);
    } else if (put == 0 || errno != EINTR) {
      return;
    }
  }
}

}  // namespace

struct LogWriter::Queue {
  const int fd;
  const size_t bytes_max;
  const Render render;
  absl::Mutex mu;
  std::deque<std::string> lines ABSL_GUARDED_BY(mu);
  size_t bytes ABSL_GUARDED_BY(mu) = 0;
  uint64_t lost ABSL_GUARDED_BY(mu) = 0;
  bool writing ABSL_GUARDED_BY(mu) = false;
  bool ending ABSL_GUARDED_BY(mu) = false;

  bool HasNews() const ABSL_SHARED_LOCKS_REQUIRED(mu) { return ending || !lines.empty(); }
  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mu) { return lines.empty() && !writing; }

  // False: the end.
  bool Take(std::string& line) {
    absl::MutexLock lock(&mu);
    writing = false;
    mu.Await(absl::Condition(this, &Queue::HasNews));
    if (lines.empty()) return false;
    line = std::move(lines.front());
    lines.pop_front();
    bytes -= line.size();
    writing = true;
    if (const uint64_t count = std::exchange(lost, 0); count > 0) {
      const std::string message =
          absl::StrCat(count, " lines of the log are lost: nobody read it in time");
      absl::StrAppend(&line, render ? render(message) : message, "\n");
    }
    return true;
  }
};

absl::StatusOr<std::unique_ptr<LogWriter>> LogWriter::Start(int fd, size_t queued_bytes_max,
                                                            Render render) {
  std::shared_ptr<Queue> queue(
      new Queue{.fd = fd, .bytes_max = queued_bytes_max, .render = std::move(render)});
  // Signals are for the threads that wait for them, and a log that nobody reads is no reason to
  // die.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  absl::StatusOr<Thread> thread = Thread::Start([queue] {
    std::string line;
    while (queue->Take(line)) WriteAll(queue->fd, line);
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!thread.ok()) return thread.status();
  pthread_setname_np(thread->handle(), "log");
  std::move(*thread).Detach();
  return std::unique_ptr<LogWriter>(new LogWriter(std::move(queue)));
}

LogWriter::~LogWriter() {
  absl::MutexLock lock(&queue_->mu);
  queue_->ending = true;
}

void LogWriter::Write(std::string line) {
  absl::MutexLock lock(&queue_->mu);
  if (queue_->bytes + line.size() > queue_->bytes_max) {
    ++queue_->lost;
    return;
  }
  queue_->bytes += line.size();
  queue_->lines.push_back(std::move(line));
}

bool LogWriter::Flush(absl::Duration timeout) {
  absl::MutexLock lock(&queue_->mu);
  return queue_->mu.AwaitWithTimeout(absl::Condition(queue_.get(), &Queue::IsIdle), timeout);
}

}  // namespace nodecomm
