// nodecomm-watcher: tells nodecommd of the critical errors of this host's GPUs, a line each.
// Not started by people. Ends when its standard input does. Design note: daemon/watch/README.md.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/topology/nvml.h"
#include "daemon/watch/watch_line.h"

namespace nodecomm {
namespace {

// How long the daemon's end goes unnoticed.
constexpr absl::Duration kTurn = absl::Seconds(1);

bool DaemonIsThere() {
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  return poll(&input, 1, 0) == 0;
}

int Fail(const absl::Status& status) {
  fprintf(stderr, "nodecomm-watcher: %s\n", std::string(status.message()).c_str());
  return EXIT_FAILURE;
}

int Run() {
  const absl::StatusOr<std::unique_ptr<XidWatch>> watch = WatchXids("libnvidia-ml.so.1");
  if (!watch.ok()) return Fail(watch.status());
  puts(kWatchingLine);
  fflush(stdout);
  while (DaemonIsThere()) {
    const absl::StatusOr<std::optional<XidReport>> report = (*watch)->Wait(kTurn);
    if (!report.ok()) return Fail(report.status());
    if (!report->has_value()) continue;
    puts(FormatXid({.gpu_uuid = (*report)->gpu_uuid, .code = (*report)->code}).c_str());
    fflush(stdout);
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace nodecomm

int main() { return nodecomm::Run(); }
