// This process's connection to the daemon on session.sock: who the two ends are, the file
// descriptors that the daemon sends, and, by being open, that this process lives. Not the calls:
// those go over control.sock (control_client.h). Design note: client/README.md, "session".
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/base/unique_fd.h"
#include "client/session/process_stamp.h"
#include "nodecomm/v1/session.pb.h"
#include "proto/framing.h"

namespace nodecomm {

// Set as a payload on the status of a session that the daemon refused for its version.
inline constexpr char kUnsupportedVersionPayload[] = "nodecomm/unsupported-version";

// Thread-safe.
class WorkerSession {
 public:
  static constexpr absl::Duration kHandshakeTimeout = absl::Seconds(5);
  // Transfers that have come and that nobody has taken yet. A transfer is taken right after the
  // answer that names it, so only ranks that join at the same moment in one process add up here.
  static constexpr size_t kPendingTransfersMax = 64;

  // In the process that made the session: ends it. In a fork of that process: closes the inherited
  // descriptors and leaks the rest, since the parent's threads and locks do not exist there and the
  // connection is not the child's to end.
  struct Disposer {
    void operator()(WorkerSession* session) const;
  };
  using Owner = std::unique_ptr<WorkerSession, Disposer>;

  // Unavailable: no daemon there, or it does not answer within `timeout`; PermissionDenied;
  // FailedPrecondition with kUnsupportedVersionPayload: its version does not fit;
  // ResourceExhausted: it takes no more workers.
  static absl::StatusOr<Owner> Connect(const std::string& runtime_dir,
                                       absl::Duration timeout = kHandshakeTimeout);

  // The same on a connected socket; `peer` names the other end in messages.
  static absl::StatusOr<Owner> Handshake(UniqueFd socket, const std::string& peer,
                                         absl::Duration timeout = kHandshakeTimeout);

  const v1::SessionWelcome& welcome() const { return welcome_; }

  // The file descriptors of a transfer, once they have come. Each transfer can be taken once.
  // DeadlineExceeded; Unavailable: the daemon went away before; ResourceExhausted: it came, but
  // more than kPendingTransfersMax others came before it was taken.
  absl::StatusOr<std::vector<UniqueFd>> TakeTransfer(uint64_t transfer_id, absl::Time deadline);

  // The daemon has gone or broken the protocol: nothing will come any more.
  bool ended() const;

 private:
  WorkerSession(UniqueFd socket, UniqueFd stop_event, v1::SessionWelcome welcome);
  ~WorkerSession();

  absl::Status StartReader();
  static void* RunReader(void* session);
  void ReadUntilEnd();
  absl::Status ReadFrame();
  void Keep(Frame frame);
  bool Arrived(uint64_t transfer_id) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  UniqueFd socket_;
  UniqueFd stop_event_;  // readable: the reader is to return
  const v1::SessionWelcome welcome_;
  const ProcessStamp stamp_;
  pthread_t reader_{};
  bool reader_runs_ = false;

  mutable absl::Mutex mutex_;
  // By transfer id, which grows.
  std::map<uint64_t, std::vector<UniqueFd>> pending_ ABSL_GUARDED_BY(mutex_);
  // Transfers up to here that are not in pending_ were taken or dropped.
  uint64_t dropped_up_to_ ABSL_GUARDED_BY(mutex_) = 0;
  // Not OK: the reader has ended, for this reason.
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace nodecomm
