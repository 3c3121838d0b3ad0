// The daemon's directory on the host: the single-instance lock, the directories and the three
// listening sockets. Not the serving of the sockets (session_server.h), nor the control pages that
// groups put into groups/. Design note: daemon/README.md, "sockets".
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/base/unique_fd.h"
#include "daemon/session/session_news.h"

namespace nodecomm {

// One thread. The daemon holds it for its whole life; destroying it unlinks the sockets, then lets
// go of the lock.
class RuntimeDir {
 public:
  struct Options {
    std::string path;
    mode_t mode = 0755;  // if it has to be made; one that is there keeps its own (systemd's, say)
    mode_t admin_mode = 0700;
  };

  // Non-blocking, close-on-exec, listening.
  struct Listeners {
    UniqueFd session;  // SOCK_SEQPACKET, open to every user
    UniqueFd control;  // SOCK_STREAM, open to every user
    UniqueFd admin;    // SOCK_STREAM, the daemon's user (and root) only
  };

  // AlreadyExists: another daemon holds the lock; its process id is in the message, unless somebody
  // removed the lock file.
  // InvalidArgument: the path is too long for a socket's address. Nothing but the directory and the
  // lock file is touched before the lock is held.
  static absl::StatusOr<std::unique_ptr<RuntimeDir>> Create(const Options& options);
  ~RuntimeDir();
  RuntimeDir(const RuntimeDir&) = delete;
  RuntimeDir& operator=(const RuntimeDir&) = delete;

  // Replaces the sockets that a killed daemon left, binds and listens. Once. Of `kept`, sockets of
  // an earlier daemon that somebody held open meanwhile, those are taken that still stand at their
  // paths.
  absl::StatusOr<Listeners> Listen(Listeners kept = {});

  // The first of the directory's files whose name leads no longer to what this daemon made or took
  // there, and what became of it; empty: all do. Clients do not find the daemon then, or a second
  // one does not find its lock.
  std::string Lost() const;

  // Why no session or no group can be written down, and what mends it; empty: they can. Tries it,
  // with files as large and as many as one takes, which it removes: a look at modes, owners and
  // room would miss quotas, attributes and what else a file system refuses.
  std::string WhyNotWritten() const;

  // How the daemon before this one ended, as its process id in the lock file says: one that ends in
  // order takes it out.
  Predecessor predecessor() const { return predecessor_; }
  // Nobody needs to be taken over any more.
  void EndInOrder();

  const std::string& path() const { return path_; }
  std::string session_socket_path() const { return path_ + "/session.sock"; }
  std::string control_socket_path() const { return path_ + "/control.sock"; }
  std::string admin_socket_path() const { return path_ + "/admin/admin.sock"; }
  // Holds the workers' two sockets once more and nothing else, so that it can be mounted into
  // containers: root there would get past the modes of the other directories. The directory stays
  // when the daemon ends, since a mount of one that is made anew would stay empty.
  std::string workers_path() const { return path_ + "/workers"; }
  // Both 0700: the groups' control pages and records, and the sessions' records.
  std::string groups_path() const { return path_ + "/groups"; }
  std::string sessions_path() const { return path_ + "/sessions"; }

 private:
  struct File {
    std::string path;
    dev_t device = 0;
    ino_t inode = 0;
    mode_t mode = 0;
  };
  enum class Found { kOwn, kNothing, kAnother };

  RuntimeDir(std::string path, UniqueFd lock, UniqueFd groups_lock, Predecessor predecessor);
  absl::Status Remember(const std::string& path);
  static Found Look(const File& file);

  const std::string path_;
  // Closing it releases the lock. The file itself stays: unlinking it would let two daemons each
  // lock "the" file.
  const UniqueFd lock_;
  const UniqueFd groups_lock_;  // that of the directory: for when somebody removes the file
  const Predecessor predecessor_;
  std::vector<File> files_;  // as they were when the daemon made or took them
};

}  // namespace nodecomm
