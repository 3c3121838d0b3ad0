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
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "client/base/status_macros.h"
#include "client/base/steady_wait.h"
#include "daemon/process/thread.h"

namespace nodecomm {
namespace {

// Takes from `text` what it writes. 0, or why not all is written.
int WriteAll(int fd, std::string_view& text) {
  while (!text.empty()) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put > 0) {
      text.remove_prefix(static_cast<size_t>(put));
    } else if (put < 0 && errno == EAGAIN) {
      pollfd writable = {.fd = fd, .events = POLLOUT, .revents = 0};
      poll(&writable, 1, -1);
    } else if (put == 0) {
      return EIO;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

struct LogWriter::Queue {
  const int fd;
  const size_t bytes_max;
  const Render render;
  absl::Mutex mu;
  SteadyCondVar becomes_idle;
  std::deque<std::string> lines ABSL_GUARDED_BY(mu);
  size_t bytes ABSL_GUARDED_BY(mu) = 0;
  Lost lost ABSL_GUARDED_BY(mu);
  bool writing ABSL_GUARDED_BY(mu) = false;
  bool ending ABSL_GUARDED_BY(mu) = false;

  bool HasNews() const ABSL_SHARED_LOCKS_REQUIRED(mu) { return ending || !lines.empty(); }
  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mu) { return lines.empty() && !writing; }

  // False: the end.
  bool Take(std::string& line) {
    absl::MutexLock lock(&mu);
    writing = false;
    if (IsIdle()) becomes_idle.SignalAll();
    mu.Await(absl::Condition(this, &Queue::HasNews));
    if (lines.empty()) return false;
    line = std::move(lines.front());
    lines.pop_front();
    bytes -= line.size();
    writing = true;
    return true;
  }

  void CountNotWritten() {
    absl::MutexLock lock(&mu);
    ++lost.not_written;
  }
  Lost LostByNow() {
    absl::MutexLock lock(&mu);
    return lost;
  }
};

// The thread.
class LogWriter::Writing {
 public:
  explicit Writing(std::shared_ptr<Queue> queue) : queue_(std::move(queue)) {}

  void Run() {
    std::string line;
    while (queue_->Take(line)) {
      if (!Write(line)) {
        queue_->CountNotWritten();
        continue;
      }
      const Lost now = queue_->LostByNow();
      if (const std::string untold = Untold(now); untold.empty() || Write(untold)) told_ = now;
    }
  }

 private:
  bool Write(std::string_view text) {
    // What a write that failed left of a line is ended first.
    std::string_view end_of_line = in_line_ ? "\n" : "";
    int error = WriteAll(queue_->fd, end_of_line);
    if (error == 0) {
      const size_t size = text.size();
      error = WriteAll(queue_->fd, text);
      in_line_ = error != 0 && text.size() < size;
    }
    if (error != 0) error_ = error;
    return error == 0;
  }

  // How many lines are lost that the log does not tell of yet, as lines of it; empty: none.
  std::string Untold(const Lost& now) const {
    std::string lines;
    if (const uint64_t count = now.not_read - told_.not_read; count > 0) {
      AddMessage(lines, absl::StrCat(count, " lines of the log are lost: nobody read it in time"));
    }
    if (const uint64_t count = now.not_written - told_.not_written; count > 0) {
      const absl::Status cause = absl::ErrnoToStatus(error_, "");
      AddMessage(lines, absl::StrCat(count, " lines of the log are lost: they could not be written",
                                     cause.message()));
    }
    return lines;
  }

  void AddMessage(std::string& lines, const std::string& message) const {
    absl::StrAppend(&lines, queue_->render ? queue_->render(message) : message, "\n");
  }

  const std::shared_ptr<Queue> queue_;
  Lost told_;  // what the log says of those that are lost
  int error_ = 0;
  bool in_line_ = false;
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
  absl::StatusOr<Thread> thread = Thread::Start([queue] { Writing(queue).Run(); });
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
    ++queue_->lost.not_read;
    return;
  }
  queue_->bytes += line.size();
  queue_->lines.push_back(std::move(line));
}

LogWriter::Lost LogWriter::lost() const {
  absl::MutexLock lock(&queue_->mu);
  return queue_->lost;
}

bool LogWriter::Flush(absl::Duration timeout) {
  absl::MutexLock lock(&queue_->mu);
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(queue_->mu) { return queue_->IsIdle(); };
  return queue_->becomes_idle.Await(&queue_->mu, SteadyNow() + timeout, idle);
}

}  // namespace nodecomm
