// Whether the daemon answers, and what it says of itself.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/admin_client.h"
#include "client/cli/doctor_checks.h"
#include "client/cli/text_table.h"

namespace nodecomm {
namespace {

bool HasSessionSocket(const HostFacts& host) {
  return std::any_of(
      host.worker_sockets.begin(), host.worker_sockets.end(),
      [](const RuntimeFile& socket) { return socket.name == "session.sock" && socket.exists; });
}

// An answer takes a connection and what gRPC needs for it.
constexpr int64_t kDescriptorsSpare = 4;

constexpr char kNotAllowed[] = "not allowed: run it as root or as the daemon's user";

// How to restart it without an end of groups. A daemon that did not see their processes can't go on
// with them.
std::string KillKeepingGroups(const HostFacts& host) {
  if (host.lock_holder_facts.in_inner_pid_namespace) {
    return "nothing keeps them, since it is in a PID namespace of its own";
  }
  return "to keep them, kill it: systemctl kill --kill-who=main --signal=KILL nodecommd";
}

// Why nobody answers, as far as the directory tells.
std::string AdviceOnSilence(const HostFacts& host) {
  if (host.runtime_dir.size() > kRuntimeDirBytesMax) {
    return "no daemon can serve it: name a shorter one, to the daemon and to its workers "
           "(--runtime-dir, NODECOMM_RUNTIME_DIR, RuntimeDirectory= of the unit)";
  }
  // With the directory its records of groups are gone: no other daemon can take them over.
  if (host.lock_holder.has_value() && !host.lock_file.exists) {
    return "restart it: systemctl restart nodecommd, which ends groups in order";
  }
  if (host.runtime_dir_error == ENOENT) {
    return absl::StrCat(
        host.runtime_dir,
        " is not there: start nodecommd, or mount the directory into the container");
  }
  if (host.lock_holder.has_value()) {
    return absl::StrCat("restart it: systemctl restart nodecommd, which ends groups in order; ",
                        KillKeepingGroups(host));
  }
  if (!host.lock_file.exists && HasSessionSocket(host)) {
    return absl::StrCat(host.runtime_dir,
                        " is the part for workers in containers: run this on the host");
  }
  if (host.runtime_dir_error == 0 && !host.lock_file.exists) {
    return absl::StrCat("no nodecommd has ever run in ", host.runtime_dir,
                        host.own_uid == 0 ? "" : ", as far as this user may see (root sees more)",
                        ": start it there, or name its own directory with --runtime-dir");
  }
  return "start it: systemctl start nodecommd; why it ended is in its log: journalctl -u nodecommd";
}

// It takes no connection then, and answers none that is waiting.
bool HasNoDescriptorLeft(const ProcessFacts& daemon) {
  return daemon.open_files.has_value() && daemon.open_files_max.has_value() &&
         *daemon.open_files + kDescriptorsSpare >= *daemon.open_files_max;
}

// Somebody listens and says nothing, or there is nobody to listen.
void ReportSilence(const HostFacts& host, const DaemonFacts& daemon, Report& report) {
  const std::string asked(daemon.asked.message());
  const char state = host.lock_holder_facts.state;
  if (!daemon.connected && absl::IsResourceExhausted(daemon.asked)) {
    report.Problem(absl::StrCat("the daemon could not be asked: ", asked),
                   "that is a limit of nodecommctl, and says nothing of the daemon");
  } else if (state == 'T' || state == 't') {
    report.Problem(
        absl::StrFormat("nodecommd (process %d) is stopped%s, and so does not answer",
                        *host.lock_holder, state == 't' ? " by a debugger" : ""),
        absl::StrFormat(
            "let it go on: %s. If it must be restarted, systemctl restart nodecommd ends groups; "
            "%s",
            state == 't' ? "end the debugger" : absl::StrFormat("kill -CONT %d", *host.lock_holder),
            KillKeepingGroups(host)));
  } else if (state == 'D') {
    report.Problem(
        absl::StrFormat("nodecommd (process %d) waits in the kernel, for a driver or a disk: %s",
                        *host.lock_holder, asked),
        "look for NVRM and Xid in the kernel's log (dmesg); if it stays so, reset the GPUs or the "
        "host");
  } else if (host.lock_hidden && !daemon.connected) {
    report.Problem(
        absl::StrFormat("nodecommd (process %d) runs, but %s is not its directory any more: "
                        "something was mounted over it, or put in its place",
                        *host.lock_holder, host.runtime_dir),
        absl::StrFormat(
            "take that away (findmnt %s; umount, or move the daemon's own back): workers "
            "come again then; else restart it: systemctl restart nodecommd, which ends "
            "groups in order",
            host.runtime_dir));
  } else if (daemon.connected && HasNoDescriptorLeft(host.lock_holder_facts)) {
    report.Problem(
        absl::StrFormat("nodecommd (process %d) has %d of at most %d files open, and so takes no "
                        "connection: %s",
                        *host.lock_holder, *host.lock_holder_facts.open_files,
                        *host.lock_holder_facts.open_files_max, asked),
        absl::StrFormat("end some workers; then raise LimitNOFILE= of its unit (systemctl edit "
                        "nodecommd), which a restart takes. At once: prlimit --nofile=N --pid %d",
                        *host.lock_holder));
  } else if (daemon.connected && absl::IsResourceExhausted(daemon.asked)) {
    report.Problem(absl::StrCat("it lives and serves workers, but could not be asked: ", asked),
                   "the daemon needs no restart. If it is not clear which programs these are, ss "
                   "-xp names who has admin.sock open");
  } else if (daemon.connected && host.lock_holder.has_value()) {
    std::string advice = "look at the daemon's log: journalctl -u nodecommd";
    // One that closes a connection does not hang.
    if (absl::IsDeadlineExceeded(daemon.asked)) {
      absl::StrAppend(&advice, "; if it hangs, systemctl restart nodecommd, which ends groups; ",
                      KillKeepingGroups(host));
    }
    report.Problem(absl::StrFormat("%s (process %d)", asked, *host.lock_holder), std::move(advice));
  } else {
    report.Problem(asked, daemon.connected ? "look at the daemon's log: journalctl -u nodecommd"
                                           : AdviceOnSilence(host));
  }
}

// What the daemon makes at its start only. The daemon's own word comes last: it names one file, and
// looks every few seconds.
void CheckOwnFiles(const HostFacts& host, const DaemonFacts& daemon, Report& report) {
  constexpr char kRestart[] = "somebody removed it; restart the daemon";
  bool found = false;
  for (const RuntimeFile& socket : host.worker_sockets) {
    if (socket.exists && socket.is_socket) continue;
    found = true;
    report.Problem(
        absl::StrCat(host.runtime_dir, "/", socket.name,
                     socket.exists ? " is no socket" : " is not there", ": no worker",
                     socket.name.starts_with("workers/") ? " in a container" : "", " can come"),
        socket.exists ? "somebody replaced it; remove what is there, and restart the daemon"
                      : kRestart);
  }
  for (const RuntimeFile& directory : host.record_directories) {
    if (directory.exists) continue;
    found = true;
    report.Problem(
        absl::StrCat(host.runtime_dir, "/", directory.name, " is not there: no ",
                     directory.name == "groups" ? "group can form" : "worker can open a session"),
        kRestart);
  }
  if (found || daemon.status.runtime_dir_problem().empty()) return;
  report.Problem(
      absl::StrCat(RenderForeign(daemon.status.runtime_dir_problem()),
                   ": whoever comes there finds nobody, or somebody else"),
      "find out who did it, and remove what was put there; restart the daemon (systemctl "
      "restart nodecommd), which makes its files anew");
}

}  // namespace

void CheckSocket(const HostFacts& host, const DaemonFacts& daemon, Report& report) {
  report.Start("socket");
  if (absl::IsPermissionDenied(daemon.asked)) {
    report.Problem(std::string(daemon.asked.message()), kNotAllowed);
  } else if (!daemon.asked.ok()) {
    ReportSilence(host, daemon, report);
  } else {
    report.Ok(absl::StrFormat("nodecommd answers, pid %d, up %s", daemon.status.pid(),
                              RenderDuration(absl::Milliseconds(daemon.status.uptime_ms()))));
  }
  for (const int other : host.other_lock_holders) {
    report.Problem(
        absl::StrFormat("nodecommd (process %d) was started for %s, too, and runs "
                        "without its lock file: somebody removed or hid it",
                        other, host.runtime_dir),
        absl::StrFormat("its workers' calls go on, and new workers come to the other; end "
                        "it when its groups are done: kill -TERM %d",
                        other));
  }
  if (!daemon.asked.ok()) return;
  // That a file of its own is gone, or cannot be written, is said below.
  if (!daemon.status.not_ready().empty() && daemon.status.runtime_dir_problem().empty() &&
      daemon.status.not_ready() != daemon.status.write_problem()) {
    report.Warn(absl::StrCat("it is not ready: ", RenderForeign(daemon.status.not_ready())),
                "do what it says, or wait; if it stays so, look at the daemon's log: journalctl -u "
                "nodecommd");
  }
  if (!daemon.status.write_problem().empty()) {
    report.Problem(RenderForeign(daemon.status.write_problem()),
                   "do what it says, and the daemon goes on by itself within 5 s; groups that are "
                   "ready do so meanwhile");
  }
  if (!daemon.status.reload_problem().empty()) {
    report.Warn(absl::StrCat("its last reload failed, and changed nothing: ",
                             RenderForeign(daemon.status.reload_problem())),
                "mend the file, then systemctl reload nodecommd");
  }
  if (!daemon.status.metrics_problem().empty()) {
    report.Warn(RenderForeign(daemon.status.metrics_problem()),
                "do what it says; or make the directory, or room there, and let the daemon write "
                "there (the directory's mode, ReadWritePaths= of the unit). What Prometheus reads "
                "there is old until then, or another's");
  }
  if (!daemon.status.log_problem().empty()) {
    report.Warn(RenderForeign(daemon.status.log_problem()),
                absl::StrFormat(
                    "ls -l /proc/%d/fd/2 tells where its log goes: make room there, "
                    "let it be written, or see why nobody reads it. Where its file was removed, "
                    "restart the daemon, and rotate with copytruncate",
                    daemon.status.pid()));
  }
  for (const v1::WaitingSetting& setting : daemon.config.waiting()) {
    report.WarnOf(setting.field(), "changed in the file, and waits for a restart",
                  "nodecommctl config show tells the values; systemctl restart nodecommd ends "
                  "groups in order");
  }
  CheckOwnFiles(host, daemon, report);
}

}  // namespace nodecomm
