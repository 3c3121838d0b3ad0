// How near the daemon is to the most that it may hold.
#include "absl/strings/str_format.h"
#include "client/cli/doctor_checks.h"

namespace nodecomm {
namespace {

// What a session costs at most: its socket, the worker's pidfd, its liveness page and calls.
constexpr int kFdsPerSession = 6;

}  // namespace

void CheckLimits(const DaemonFacts& daemon, Report& report) {
  report.Start("limits");
  if (!daemon.asked.ok()) return report.Skip("the daemon could not be asked");
  if (!daemon.config.has_config()) {
    return report.Skip("the daemon is of an earlier version, which does not tell its limits");
  }
  const int sessions_max = daemon.config.config().limits().sessions_max();
  if (sessions_max > 0 && daemon.status.sessions() * 10 > sessions_max * 9) {
    report.Warn(
        absl::StrFormat("%d sessions of at most %d", daemon.status.sessions(), sessions_max),
        "raise limits.sessions_max; nodecommctl sessions shows whose they are");
  }
  if (daemon.fds_max.has_value() && *daemon.fds_max < sessions_max * kFdsPerSession) {
    report.Warn(absl::StrFormat("the daemon may open %d files, too few for %d sessions",
                                *daemon.fds_max, sessions_max),
                absl::StrFormat("set LimitNOFILE=%d", sessions_max * kFdsPerSession));
  }
  if (report.silent()) {
    report.Ok(absl::StrFormat("%d of %d sessions", daemon.status.sessions(), sessions_max));
  }
}

}  // namespace nodecomm
