// The daemon's directory: whether somebody answers there, who may come in, and whether there is
// room in it.
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/doctor_checks.h"
#include "client/cli/text_table.h"

namespace nodecomm {
namespace {

// A file system with less than this is full for the daemon: a group takes two files of a page each,
// a session one.
constexpr ByteCount kRoomMin = 64_KiB;
constexpr uint64_t kFilesMin = 16;
// What groups and sessions take if there are as many as the default limits allow. A file system
// that has less, and less than a tenth, is nearly full.
constexpr ByteCount kRoomWanted = 8_MiB;
constexpr uint64_t kFilesWanted = 2048;

// Why nobody answers, as far as the directory tells.
std::string AdviceOnSilence(const HostFacts& host) {
  // With the directory its records of groups are gone: no other daemon can take them over.
  if (host.lock_holder.has_value() && !host.lock_file_exists) {
    return "restart it: systemctl restart nodecommd, which ends groups in order";
  }
  if (host.runtime_dir_error == ENOENT) {
    return absl::StrCat(
        host.runtime_dir,
        " is not there: start nodecommd, or mount the directory into the container");
  }
  if (host.lock_holder.has_value()) {
    return "restart it: systemctl restart nodecommd, which ends groups in order; or, to keep them, "
           "systemctl kill --kill-who=main --signal=KILL nodecommd";
  }
  if (!host.lock_file_exists && host.session_socket_exists) {
    return absl::StrCat(host.runtime_dir,
                        " is the part for workers in containers: run this on the host");
  }
  if (host.runtime_dir_error == 0 && !host.lock_file_exists) {
    return absl::StrCat("no nodecommd has ever run in ", host.runtime_dir,
                        ": start it there, or name its own directory with --runtime-dir");
  }
  return "start it: systemctl start nodecommd; why it ended is in its log: journalctl -u nodecommd";
}

std::string OwnerAndMode(const HostFacts& host) {
  return absl::StrFormat("belongs to uid %d and has mode %04o", *host.runtime_dir_uid,
                         host.runtime_dir_mode);
}

void ReportClosedDirectory(const HostFacts& host, Report& report) {
  const char* const cause = std::strerror(host.runtime_dir_error);
  if (host.runtime_dir_error != EACCES) {
    report.Problem(absl::StrCat(host.runtime_dir, ": ", cause),
                   "name the daemon's directory with --runtime-dir");
  } else if (host.runtime_dir_uid.has_value()) {
    report.Problem(
        absl::StrCat(host.runtime_dir, " is closed to this user: it ", OwnerAndMode(host)),
        "run this as root; if workers of other users are to come in, give it mode 0755 "
        "(runtime_dir_mode, or RuntimeDirectoryMode= of the unit)");
  } else {
    report.Problem(absl::StrCat(host.runtime_dir, ": ", cause,
                                ": a directory above it is closed to this user"),
                   "run this as root; workers need to get there, too");
  }
}

}  // namespace

void CheckSocket(const HostFacts& host, const DaemonFacts& daemon, Report& report) {
  report.Start("socket");
  if (absl::IsPermissionDenied(daemon.asked)) {
    report.Problem(std::string(daemon.asked.message()),
                   "not allowed: run it as root or as the daemon's user");
  } else if (!daemon.asked.ok()) {
    report.Problem(std::string(daemon.asked.message()),
                   daemon.connected ? "look at the daemon's log: journalctl -u nodecommd"
                                    : AdviceOnSilence(host));
  } else {
    report.Ok(absl::StrFormat("nodecommd answers, pid %d, up %s", daemon.status.pid(),
                              RenderDuration(absl::Milliseconds(daemon.status.uptime_ms()))));
  }
  if (!daemon.asked.ok()) return;
  if (!daemon.status.not_ready().empty()) {
    report.Warn(absl::StrCat("it is not ready: ", RenderForeign(daemon.status.not_ready())),
                "do what it says, or wait; if it stays so, look at the daemon's log: journalctl -u "
                "nodecommd");
  }
  if (!daemon.status.reload_problem().empty()) {
    report.Warn(absl::StrCat("its last reload failed, and changed nothing: ",
                             RenderForeign(daemon.status.reload_problem())),
                "mend the file, then systemctl reload nodecommd");
  }
  for (const std::string& name : host.missing_sockets) {
    report.Problem(absl::StrCat(host.runtime_dir, "/", name, " is not there: no worker",
                                name.starts_with("workers/") ? " in a container" : "", " can come"),
                   "somebody removed it; restart the daemon");
  }
}

void CheckPermissions(const HostFacts& host, Report& report) {
  report.Start("permissions");
  if (host.runtime_dir_error == ENOENT) return report.Skip("there is no runtime directory");
  if (host.runtime_dir_error != 0) return ReportClosedDirectory(host, report);
  if ((host.runtime_dir_mode & 0022) != 0) {
    report.Problem(absl::StrCat(host.runtime_dir,
                                " can be written to by others, who could replace "
                                "the sockets"),
                   absl::StrCat("chmod go-w ", host.runtime_dir));
  }
  if ((host.runtime_dir_mode & 0077) == 0) {
    report.Warn(absl::StrCat(host.runtime_dir, " is closed to workers of other users: it ",
                             OwnerAndMode(host)),
                "intended? else give it mode 0755 (runtime_dir_mode, or RuntimeDirectoryMode= of "
                "the unit)");
  }
  if (host.session_socket_exists && !host.session_socket_for_everybody) {
    report.Warn("not every user may connect to session.sock",
                "intended? else restart the daemon, which gives it mode 0666");
  }
  if (report.silent()) report.Ok("of the runtime directory and session.sock");
}

void CheckFileSystem(const HostFacts& host, Report& report) {
  report.Start("file-system");
  if (!host.runtime_dir_room.has_value()) {
    return report.Skip("the runtime directory cannot be looked into");
  }
  const FileSystemRoom& room = *host.runtime_dir_room;
  // Containers mount the directory read-only, as they should: only the daemon writes there.
  if (room.read_only && !host.in_container) {
    report.Problem(absl::StrCat(host.runtime_dir,
                                " is on a file system that is read-only: no group "
                                "can form"),
                   "mount it for writing; if the kernel made it so, its log says why (dmesg)");
  }
  const auto check = [&](uint64_t free, uint64_t total, uint64_t min, uint64_t wanted,
                         const std::string& finding, const char* advice) {
    if (total == 0) return;  // it has no bound, or does not tell
    if (free < min) {
      report.Problem(absl::StrCat("no room for groups and sessions: ", finding), advice);
    } else if (free < wanted && free < total / 10) {
      report.Warn(absl::StrCat("little room for groups and sessions: ", finding), advice);
    }
  };
  check(room.bytes_free, room.bytes_total, kRoomMin.value, kRoomWanted.value,
        absl::StrFormat("%s has %s left of %s", host.runtime_dir, RenderBytes({room.bytes_free}),
                        RenderBytes({room.bytes_total})),
        "see who fills it (df, du -x), and make room or give the file system more (mount -o "
        "remount,size=)");
  check(room.files_free, room.files_total, kFilesMin, kFilesWanted,
        absl::StrFormat("%s has %s left of %d", host.runtime_dir,
                        Counted(static_cast<int64_t>(room.files_free), "file"), room.files_total),
        "see who makes so many (df -i), and remove some or give the file system more (mount -o "
        "remount,nr_inodes=)");
  if (report.silent()) {
    report.Ok(room.bytes_total == 0 ? "can be written to"
                                    : absl::StrCat(RenderBytes({room.bytes_free}), " left"));
  }
}

}  // namespace nodecomm
