// Writes lines to a descriptor on a thread of its own, so that nobody who logs waits for whoever
// reads the log: a reader that has stopped, or a disk that is full, costs lines, which are counted.
// Not a format (log.cc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace nodecomm {

// Thread-safe.
class LogWriter {
 public:
  static constexpr size_t kQueuedBytesMax = size_t{1} << 20;

  // Of lines that nobody will see.
  struct Lost {
    uint64_t not_read = 0;     // found no room: who reads the log is slow
    uint64_t not_written = 0;  // write failed
    bool operator==(const Lost&) const = default;
  };

  // Makes a line, without a newline, of the writer's own message; called on its thread.
  using Render = std::function<std::string(std::string_view)>;

  // `fd` stays open for as long as the process lives: a thread that is stuck in a write is left
  // behind.
  static absl::StatusOr<std::unique_ptr<LogWriter>> Start(int fd,
                                                          size_t queued_bytes_max = kQueuedBytesMax,
                                                          Render render = nullptr);
  // Without waiting for what is queued.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // Never waits. A line that finds no room is lost, and so is one that cannot be written; their
  // number is written once that works again, which is tried every second.
  void Write(std::string line);

  // Since the start.
  Lost lost() const;

  // What is lost and the log could not tell of yet, and that somebody removed the log's file, which
  // is found within 10 s; for people; empty: nothing.
  std::string problem() const;

  // False: not all is written within the timeout.
  bool Flush(absl::Duration timeout);

 private:
  struct Queue;
  class Writing;
  explicit LogWriter(std::shared_ptr<Queue> queue) : queue_(std::move(queue)) {}

  const std::shared_ptr<Queue> queue_;
};

}  // namespace nodecomm
