#include "daemon/main/log_writer.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <deque>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "client/base/status_macros.h"
#include "client/base/steady_wait.h"
#include "daemon/process/thread.h"

namespace nodecomm {
namespace {

// How often it is tried to tell of lines that are lost, where nobody logs anything meanwhile.
constexpr absl::Duration kTellInterval = absl::Seconds(1);

// How often it is looked whether a file still has a name.
constexpr absl::Duration kLookInterval = absl::Seconds(10);

constexpr char kFileRemoved[] =
    "the log's file was removed, and nobody can read what is written there";

// Of what is no file, true.
bool HasName(int fd) {
  struct stat info {};
  return fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_nlink > 0;
}

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

// A line each of what has been lost since `told`.
std::vector<std::string> Untold(const LogWriter::Lost& lost, const LogWriter::Lost& told,
                                int error) {
  std::vector<std::string> messages;
  if (const uint64_t count = lost.not_read - told.not_read; count > 0) {
    messages.push_back(absl::StrCat(count, " lines of the log are lost: nobody read it in time"));
  }
  if (const uint64_t count = lost.not_written - told.not_written; count > 0) {
    messages.push_back(absl::StrCat(count, " lines of the log are lost: they could not be written",
                                    absl::ErrnoToStatus(error, "").message()));
  }
  return messages;
}

}  // namespace

struct LogWriter::Queue {
  const int fd;
  const size_t bytes_max;
  const Render render;
  absl::Mutex mu;
  SteadyCondVar has_news;
  SteadyCondVar becomes_idle;
  std::deque<std::string> lines ABSL_GUARDED_BY(mu);
  size_t bytes ABSL_GUARDED_BY(mu) = 0;
  Lost lost ABSL_GUARDED_BY(mu);
  Lost told ABSL_GUARDED_BY(mu);      // what the log says of those that are lost
  int error ABSL_GUARDED_BY(mu) = 0;  // of the last write that failed
  bool file_removed ABSL_GUARDED_BY(mu) = false;
  bool writing ABSL_GUARDED_BY(mu) = false;
  bool ending ABSL_GUARDED_BY(mu) = false;

  bool HasNews() const ABSL_SHARED_LOCKS_REQUIRED(mu) { return ending || !lines.empty(); }
  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mu) { return lines.empty() && !writing; }

  // False: the end. An empty line: it is time to tell of those that are lost, or to look at the
  // file.
  bool Take(std::string& line) {
    absl::MutexLock lock(&mu);
    writing = false;
    if (IsIdle()) becomes_idle.SignalAll();
    line.clear();
    const bool is_all_told = lost == told;
    const SteadyTime next = SteadyNow() + (is_all_told ? kLookInterval : kTellInterval);
    has_news.Await(&mu, next, [this]() ABSL_SHARED_LOCKS_REQUIRED(mu) { return HasNews(); });
    if (lines.empty()) return !ending;
    line = std::move(lines.front());
    lines.pop_front();
    bytes -= line.size();
    writing = true;
    return true;
  }

  void CountNotWritten(int why) {
    absl::MutexLock lock(&mu);
    ++lost.not_written;
    error = why;
  }
};

// The thread.
class LogWriter::Writing {
 public:
  explicit Writing(std::shared_ptr<Queue> queue)
      : queue_(std::move(queue)), had_name_(HasName(queue_->fd)) {}

  void Run() {
    std::string line;
    while (queue_->Take(line)) {
      if (const int error = line.empty() ? 0 : Write(line); error != 0) {
        queue_->CountNotWritten(error);
      } else {
        TellOfLost();
      }
      LookAtFile();
    }
  }

 private:
  // 0, or why not all is written.
  int Write(std::string_view text) {
    // What a write that failed left of a line is ended first.
    std::string_view end_of_line = in_line_ ? "\n" : "";
    int error = WriteAll(queue_->fd, end_of_line);
    if (error == 0) {
      const size_t size = text.size();
      error = WriteAll(queue_->fd, text);
      in_line_ = error != 0 && text.size() < size;
    }
    return error;
  }

  void TellOfLost() {
    Lost now;
    std::vector<std::string> messages;
    {
      absl::MutexLock lock(&queue_->mu);
      now = queue_->lost;
      messages = Untold(now, queue_->told, queue_->error);
    }
    std::string lines;
    for (const std::string& message : messages) {
      absl::StrAppend(&lines, queue_->render ? queue_->render(message) : message, "\n");
    }
    if (lines.empty() || Write(lines) != 0) return;
    absl::MutexLock lock(&queue_->mu);
    queue_->told = now;
  }

  // On this thread, which may wait for the file's disk.
  void LookAtFile() {
    const bool removed = had_name_ && !HasName(queue_->fd);
    absl::MutexLock lock(&queue_->mu);
    queue_->file_removed = removed;
  }

  const std::shared_ptr<Queue> queue_;
  // A file that never had one was meant so by whoever started the daemon.
  const bool had_name_;
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
  queue_->has_news.SignalAll();
}

void LogWriter::Write(std::string line) {
  absl::MutexLock lock(&queue_->mu);
  if (queue_->bytes + line.size() > queue_->bytes_max) {
    ++queue_->lost.not_read;
    return;
  }
  queue_->bytes += line.size();
  queue_->lines.push_back(std::move(line));
  queue_->has_news.SignalAll();
}

LogWriter::Lost LogWriter::lost() const {
  absl::MutexLock lock(&queue_->mu);
  return queue_->lost;
}

std::string LogWriter::problem() const {
  absl::MutexLock lock(&queue_->mu);
  std::vector<std::string> problems = Untold(queue_->lost, queue_->told, queue_->error);
  if (queue_->file_removed) problems.emplace_back(kFileRemoved);
  return absl::StrJoin(problems, "; ");
}

bool LogWriter::Flush(absl::Duration timeout) {
  absl::MutexLock lock(&queue_->mu);
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(queue_->mu) { return queue_->IsIdle(); };
  return queue_->becomes_idle.Await(&queue_->mu, SteadyNow() + timeout, idle);
}

}  // namespace nodecomm
