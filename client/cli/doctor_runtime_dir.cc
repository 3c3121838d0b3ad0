// The daemon's directory: whether somebody answers there, and who may come in.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/doctor_checks.h"
#include "client/cli/text_table.h"

namespace nodecomm {

void CheckSocket(const HostFacts& host, const DaemonFacts& daemon, Report& report) {
  report.Start("socket");
  if (absl::IsPermissionDenied(daemon.asked)) {
    report.Problem(std::string(daemon.asked.message()),
                   "not allowed: run it as root or as the daemon's user");
  } else if (!daemon.asked.ok()) {
    report.Problem(std::string(daemon.asked.message()),
                   host.runtime_dir_exists
                       ? "look at the daemon's log: journalctl -u nodecommd"
                       : absl::StrCat(host.runtime_dir,
                                      " is not there: start nodecommd, or mount "
                                      "the directory into the container"));
  } else {
    report.Ok(absl::StrFormat("nodecommd answers, pid %d, up %s", daemon.status.pid(),
                              RenderDuration(absl::Milliseconds(daemon.status.uptime_ms()))));
  }
  if (!daemon.asked.ok()) return;
  if (!daemon.status.not_ready().empty()) {
    report.Warn(absl::StrCat("it is not ready: ", RenderForeign(daemon.status.not_ready())),
                "wait; if it stays so, look at the daemon's log: journalctl -u nodecommd");
  }
  for (const std::string& name : host.missing_sockets) {
    report.Problem(absl::StrCat(host.runtime_dir, "/", name, " is not there: no worker",
                                name.starts_with("workers/") ? " in a container" : "", " can come"),
                   "somebody removed it; restart the daemon");
  }
}

void CheckPermissions(const HostFacts& host, Report& report) {
  report.Start("permissions");
  if (!host.runtime_dir_exists) return report.Skip("there is no runtime directory");
  if (host.runtime_dir_writable_by_others) {
    report.Problem(absl::StrCat(host.runtime_dir,
                                " can be written to by others, who could replace "
                                "the sockets"),
                   absl::StrCat("chmod go-w ", host.runtime_dir));
  }
  if (host.session_socket_exists && !host.session_socket_for_everybody) {
    report.Warn("not every user may connect to session.sock",
                "intended? else restart the daemon, which gives it mode 0666");
  }
  if (report.silent()) report.Ok("of the runtime directory and session.sock");
}

}  // namespace nodecomm
