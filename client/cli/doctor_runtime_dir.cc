// The daemon's directory: who may come in, and whether there is room in it.
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
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

// Whoever owns the directory can replace what is in it.
void CheckOwner(const HostFacts& host, Report& report) {
  const std::optional<uid_t> uid = host.lock_holder_facts.effective_uid;
  if (!uid.has_value() || uid == host.runtime_dir_uid) return;
  report.Problem(absl::StrFormat("%s belongs to uid %d, but nodecommd (process %d) runs as uid %d, "
                                 "and starts only in a directory of its own",
                                 host.runtime_dir, *host.runtime_dir_uid, *host.lock_holder, *uid),
                 absl::StrFormat("chown -R %d %s", *uid, host.runtime_dir));
}

// Whoever may write to a directory can replace what is in it, whoever owns that: an administrator
// would then ask somebody else's socket, and a restarted daemon read somebody else's records.
void CheckWhoWrites(const HostFacts& host, Report& report) {
  std::vector<RuntimeFile> directories = {
      {.name = "", .exists = true, .uid = 0, .mode = host.runtime_dir_mode}};
  for (const auto* below : {&host.socket_directories, &host.record_directories}) {
    directories.insert(directories.end(), below->begin(), below->end());
  }
  std::vector<std::string> open;
  std::string paths;
  for (const RuntimeFile& directory : directories) {
    if (!directory.exists || (directory.mode & (S_IWGRP | S_IWOTH)) == 0) continue;
    const std::string path = directory.name.empty()
                                 ? host.runtime_dir
                                 : absl::StrCat(host.runtime_dir, "/", directory.name);
    open.push_back(absl::StrFormat("%s (mode %04o)", path, directory.mode));
    absl::StrAppend(&paths, " ", path);
  }
  if (open.empty()) return;
  report.Problem(absl::StrCat("others than the owner may write to ", absl::StrJoin(open, ", "),
                              ", and so replace the sockets or records there"),
                 absl::StrFormat("chmod go-w%s; find out who opened it, and restart the daemon if "
                                 "something in it is not the daemon's",
                                 paths));
}

// Whose all in the directory has to be: the daemon's user's, also while no daemon runs.
std::optional<uid_t> OwnerWanted(const HostFacts& host) {
  const std::optional<uid_t> uid = host.lock_holder_facts.effective_uid;
  return uid.has_value() ? uid : host.runtime_dir_uid;
}

// The daemon writes there for every group and session, and opens all of it at its start.
void CheckOwnersBelow(const HostFacts& host, Report& report) {
  const std::optional<uid_t> wanted = OwnerWanted(host);
  if (!wanted.has_value()) return;
  std::vector<RuntimeFile> entries = {host.lock_file};
  for (const auto* below : {&host.socket_directories, &host.record_directories}) {
    entries.insert(entries.end(), below->begin(), below->end());
  }
  std::vector<std::string> foreign;
  std::vector<std::string> closed;
  std::string foreign_paths;
  std::string closed_paths;
  for (const RuntimeFile& entry : entries) {
    const std::string path = absl::StrCat(host.runtime_dir, "/", entry.name);
    if (!entry.exists) continue;
    if (entry.uid != *wanted) {
      foreign.push_back(absl::StrFormat("%s (uid %d)", path, entry.uid));
      absl::StrAppend(&foreign_paths, " ", path);
    } else if (*wanted != 0 && (entry.mode & S_IWUSR) == 0) {
      closed.push_back(absl::StrFormat("%s (mode %04o)", path, entry.mode));
      absl::StrAppend(&closed_paths, " ", path);
    }
  }
  constexpr char kNeedsIt[] = "it can make no group or session there, or does not start again";
  if (!foreign.empty()) {
    report.Problem(
        absl::StrFormat("not the daemon's, which runs as uid %d, but of others: %s; %s", *wanted,
                        absl::StrJoin(foreign, ", "),
                        *wanted == 0 ? "they may replace what the daemon reads" : kNeedsIt),
        absl::StrFormat("find out who changed them; chown -R %d%s", *wanted, foreign_paths));
  }
  if (!closed.empty()) {
    report.Problem(absl::StrFormat("the daemon's own user may not write to %s; %s",
                                   absl::StrJoin(closed, ", "), kNeedsIt),
                   absl::StrCat("chmod u+rwX", closed_paths));
  }
}

// The part that containers of workers mount.
void CheckPartForContainers(const HostFacts& host, Report& report) {
  for (const RuntimeFile& directory : host.socket_directories) {
    if (directory.name != "workers" || !directory.exists || (directory.mode & 0077) != 0) continue;
    report.Warn(absl::StrFormat("%s/workers is closed to workers of other users in containers: it "
                                "has mode %04o",
                                host.runtime_dir, directory.mode),
                absl::StrFormat("intended? else chmod 0755 %s/workers", host.runtime_dir));
  }
}

void CheckWorkerSockets(const HostFacts& host, Report& report) {
  const std::optional<uid_t> uid = host.lock_holder_facts.effective_uid;
  std::vector<std::string> closed;
  std::vector<std::string> foreign;
  std::string paths;
  for (const RuntimeFile& socket : host.worker_sockets) {
    if (!socket.exists) continue;
    if ((socket.mode & S_IWOTH) == 0) {
      closed.push_back(absl::StrFormat("%s (mode %04o)", socket.name, socket.mode));
      absl::StrAppend(&paths, " ", host.runtime_dir, "/", socket.name);
    }
    if (uid.has_value() && socket.uid != *uid) {
      foreign.push_back(absl::StrFormat("%s (uid %d)", socket.name, socket.uid));
    }
  }
  if (!closed.empty()) {
    report.Warn(absl::StrCat("not every user may connect to ", absl::StrJoin(closed, ", ")),
                absl::StrCat("intended? else chmod 0666", paths));
  }
  if (!foreign.empty()) {
    report.Problem(
        absl::StrFormat("nodecommd runs as uid %d, and these sockets belong to others, "
                        "who may have made them: %s",
                        *uid, absl::StrJoin(foreign, ", ")),
        "find out who changed them; remove them, and restart the daemon, which makes them anew");
  }
}

}  // namespace

void CheckPermissions(const HostFacts& host, const DaemonFacts& daemon, Report& report) {
  report.Start("permissions");
  if (host.runtime_dir_error == ENOENT) return report.Skip("there is no runtime directory");
  if (host.runtime_dir_error != 0) return ReportClosedDirectory(host, report);
  if (host.lock_hidden) return report.Skip("what stands there is not the daemon's directory");
  CheckWhoWrites(host, report);
  if ((host.runtime_dir_mode & 0077) == 0) {
    report.Warn(absl::StrCat(host.runtime_dir, " is closed to workers of other users: it ",
                             OwnerAndMode(host)),
                "intended? else give it mode 0755 (runtime_dir_mode, or RuntimeDirectoryMode= of "
                "the unit)");
  }
  CheckOwner(host, report);
  CheckOwnersBelow(host, report);
  CheckPartForContainers(host, report);
  // What a daemon that is gone has left is replaced by the next one.
  const bool runs = DaemonRuns(host, daemon);
  if (runs) CheckWorkerSockets(host, report);
  if (report.silent()) {
    report.Ok(absl::StrCat("the runtime directory ", OwnerAndMode(host),
                           runs ? "; every user may connect to the sockets in it"
                                : "; no daemon runs, so the sockets were not looked at"));
  }
}

void CheckFileSystem(const HostFacts& host, Report& report) {
  report.Start("file-system");
  if (!host.runtime_dir_room.has_value()) {
    return report.Skip("the runtime directory cannot be looked into");
  }
  const FileSystemRoom& room = *host.runtime_dir_room;
  // Containers of workers mount their part of the directory read-only, as they should: only the
  // daemon writes there. It is meant wherever the daemon can be seen, or should run.
  if (room.read_only && host.in_container && !host.lock_holder.has_value()) {
    if (host.lock_file.exists) {
      report.Warn(absl::StrCat(host.runtime_dir,
                               " is read-only here, and no daemon is to be seen in this container"),
                  "a daemon here needs it for writing; workers need no more than the directory "
                  "workers/ of it");
    }
  } else if (room.read_only) {
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
