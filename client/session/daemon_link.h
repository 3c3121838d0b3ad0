// Both connections of this process to one daemon, shared by all of the process's communicators;
// closed with the last of them. Both find a restarted daemon again; where it does not know the
// session any more, the next communicator opens a new link. Design note: client/README.md,
// "session".
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/session/control_client.h"
#include "client/session/notices.h"
#include "client/session/worker_session.h"

namespace nodecomm {

// Thread-safe.
class DaemonLink {
 public:
  // The process's link to the daemon of this directory; made if there is none that works.
  // As WorkerSession::Connect; FailedPrecondition: this is a forked child of a process that had a
  // link.
  static absl::StatusOr<std::shared_ptr<DaemonLink>> Open(const std::string& runtime_dir);

  WorkerSession& session() { return *session_; }
  ControlClient& control() { return *control_; }
  // What is kept there is told when the daemon is back, and tried again while it is there.
  Notices& notices() { return notices_; }

 private:
  DaemonLink(std::string runtime_dir, WorkerSession::Owner session,
             std::unique_ptr<ControlClient> control);
  static absl::StatusOr<std::shared_ptr<DaemonLink>> Make(const std::string& runtime_dir);
  // With its last user, but for one whose daemon is away or must still be told something: it is
  // kept until that has been done, for a while. In a forked child, leaks it: gRPC's
  // threads and locks are the parent's.
  static void Dispose(DaemonLink* link);

  const ProcessStamp stamp_;
  const std::string runtime_dir_;
  std::unique_ptr<ControlClient> control_;
  Notices notices_;
  WorkerSession::Owner session_;  // last: its thread uses the other two
};

}  // namespace nodecomm
