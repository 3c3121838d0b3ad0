#include "daemon/watch/gpu_watcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"
#include "daemon/process/child_process.h"

namespace nodecomm {
namespace {

constexpr absl::Duration kEndGrace = absl::Seconds(1);
// A program that ran as long as this was no failure to start.
constexpr absl::Duration kRanWell = absl::Minutes(1);
constexpr size_t kLineBytesMax = 256;

// Keeps what came until its line is whole.
class LineBuffer {
 public:
  void Add(std::string_view text) { buffer_.append(text); }
  std::optional<std::string> TakeLine() {
    const size_t end = buffer_.find('\n');
    if (end == std::string::npos) {
      // No line of ours is so long.
      if (buffer_.size() > kLineBytesMax) buffer_.clear();
      return std::nullopt;
    }
    std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 1);
    return line;
  }

 private:
  std::string buffer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GpuWatcher>> GpuWatcher::Start(Options options) {
  UniqueFd stop(eventfd(0, EFD_CLOEXEC));
  if (!stop.valid()) return absl::ErrnoToStatus(errno, "eventfd for the watcher");
  std::unique_ptr<GpuWatcher> watcher(new GpuWatcher(std::move(options), std::move(stop)));
  ABSL_ASSIGN_OR_RETURN(watcher->thread_, Thread::Start([raw = watcher.get()] { raw->Run(); }));
  return watcher;
}

GpuWatcher::~GpuWatcher() {
  eventfd_write(stop_.get(), 1);
  thread_.Join();
}

void GpuWatcher::Run() {
  absl::Duration pause = options_.restart_after;
  while (true) {
    const SteadyTime start = SteadyNow();
    const absl::StatusOr<std::string> ending = RunOnce();
    if (ending.ok() && ending->empty()) return;
    if (SteadyNow() - start > kRanWell) pause = options_.restart_after;
    const std::string what = ending.ok() ? absl::StrFormat("%s %s", options_.program, *ending)
                                         : std::string(ending.status().message());
    options_.news(absl::StrFormat("GPU errors are not watched: %s; the next try is in %s", what,
                                  absl::FormatDuration(pause)));
    if (!Sleep(pause)) return;
    pause = std::min(2 * pause, options_.restart_after_max);
  }
}

absl::StatusOr<std::string> GpuWatcher::RunOnce() {
  std::array<int, 2> lines;
  std::array<int, 2> life;
  if (pipe2(lines.data(), O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const UniqueFd lines_reader(lines[0]);
  UniqueFd lines_writer(lines[1]);
  if (pipe2(life.data(), O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  UniqueFd life_reader(life[0]);
  // The program ends when nobody holds this end any more: also when the daemon is killed.
  const UniqueFd life_writer(life[1]);
  ABSL_ASSIGN_OR_RETURN(
      const std::unique_ptr<ChildProcess> program,
      ChildProcess::Start({.program = options_.program,
                           .arguments = {},
                           .fds = {{.number = STDIN_FILENO, .fd = life_reader.get()},
                                   {.number = STDOUT_FILENO, .fd = lines_writer.get()}}}));
  lines_writer.Reset();
  life_reader.Reset();
  if (!ReadLines(lines_reader.get())) return std::string();
  return program->End(kEndGrace);
}

bool GpuWatcher::ReadLines(int fd) {
  LineBuffer buffer;
  while (true) {
    std::array<pollfd, 2> waited = {{{stop_.get(), POLLIN, 0}, {fd, POLLIN, 0}}};
    if (poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) return true;
    if (waited[0].revents != 0) return false;
    if (waited[1].revents == 0) continue;
    std::array<char, 1024> chunk;
    const ssize_t got = read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    buffer.Add(std::string_view(chunk.data(), static_cast<size_t>(got)));
    while (const std::optional<std::string> line = buffer.TakeLine()) {
      TakeLine(*line);
    }
  }
}

void GpuWatcher::TakeLine(std::string_view line) {
  if (const std::optional<XidEvent> event = ParseXid(line)) options_.on_xid(*event);
  if (line == kWatchingLine) options_.news("");
}

bool GpuWatcher::Sleep(absl::Duration duration) {
  pollfd waited = {stop_.get(), POLLIN, 0};
  const SteadyTime end = SteadyNow() + duration;
  while (true) {
    const absl::Duration left = end - SteadyNow();
    if (left <= absl::ZeroDuration()) return true;
    timespec timeout = absl::ToTimespec(left);
    if (ppoll(&waited, 1, &timeout, nullptr) > 0) return false;
  }
}

}  // namespace nodecomm
