// This process's connection to the daemon on session.sock: who the two ends are, the file
// descriptors that the daemon sends, and that this process lives. A daemon that was restarted is
// found again. Not the calls: those go over control.sock (control_client.h). Design note:
// client/README.md, "session".
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "client/base/steady_wait.h"
#include "client/base/unique_fd.h"
#include "client/session/process_stamp.h"
#include "client/session/session_handshake.h"
#include "nodecomm/v1/session.pb.h"
#include "proto/framing.h"

namespace nodecomm {

class LivenessLock;

// Thread-safe.
class WorkerSession {
 public:
  static constexpr absl::Duration kHandshakeTimeout = absl::Seconds(5);
  // Transfers that have come and that nobody has taken yet. A transfer is taken right after the
  // answer that names it, so only ranks that join at the same moment in one process add up here.
  static constexpr size_t kPendingTransfersMax = 64;

  // In the process that made the session: ends it, whatever forks of it still hold. In such a fork:
  // leaks it. The parent's threads and locks do not exist there, the connection is not the child's
  // to end, and the numbers of the descriptors may be other files' since.
  struct Disposer {
    void operator()(WorkerSession* session) const;
  };
  using Owner = std::unique_ptr<WorkerSession, Disposer>;

  // Errors as ConnectSession and ShakeHands have them.
  static absl::StatusOr<Owner> Connect(const std::string& runtime_dir,
                                       absl::Duration timeout = kHandshakeTimeout);

  // The same on a connected socket, and once only: a session that was cut is not resumed.
  static absl::StatusOr<Owner> Handshake(UniqueFd socket, const std::string& peer,
                                         absl::Duration timeout = kHandshakeTimeout);

  const v1::SessionWelcome& welcome() const { return welcome_; }
  // How long calls that wait for other ranks may wait by default, as the daemon said when the
  // session last came to stand. Zero: it does not say.
  absl::Duration rendezvous_timeout() const;

  // From before a call whose answer names a transfer until that is taken. What comes, or has come,
  // and nobody expects belongs to an answer that was lost, and would keep memory of a group that
  // this process is not in: it is closed.
  class Expectation {
   public:
    explicit Expectation(WorkerSession& session);
    ~Expectation();
    Expectation(const Expectation&) = delete;
    Expectation& operator=(const Expectation&) = delete;

   private:
    WorkerSession& session_;  // outlives this
  };

  // The file descriptors of a transfer, once they have come. Each transfer can be taken once, by
  // who expected it.
  // DeadlineExceeded; Unavailable: the daemon went away before; ResourceExhausted: it came, but
  // this process may open no more files, or more than kPendingTransfersMax others came before it
  // was taken.
  absl::StatusOr<std::vector<UniqueFd>> TakeTransfer(uint64_t transfer_id, SteadyTime deadline);

  // Nothing will come any more: the daemon broke the protocol, or came back without knowing this
  // session.
  bool ended() const;

  // Where the daemon went away: tries now to find it again. OK: the session stands. Otherwise why
  // it does not (Unavailable); attempts go on.
  absl::Status EnsureConnected(absl::Duration timeout);

  // Called on the reader's thread each time the session stands again after the daemon's restart,
  // before anybody is told. Must not call the session, but for RetryLater.
  void OnResume(std::function<void()> resumed);

  // Called on the reader's thread a while after RetryLater, as soon as the session stands, unless
  // OnResume's function was called meanwhile. Likewise.
  void OnRetry(std::function<void()> retry);
  void RetryLater();

  // Nobody uses it any more. Where the daemon is away it is looked for that long, and where
  // something is to be retried that is done that long; the session ends once nothing is. False:
  // there is nothing to wait for, or the session has ended.
  bool Linger(absl::Duration timeout);
  // Called on the reader's thread when a session that lingered has ended, unless somebody uses it
  // again. Must not call the session.
  void OnUnused(std::function<void()> unused);
  // Somebody uses it again.
  void StopLingering();

 private:
  struct Transfer {
    std::vector<UniqueFd> fds;
    bool lost = false;  // this process had no room for them
  };

  static absl::StatusOr<Owner> Start(const std::string& runtime_dir, OpenedSession opened);
  WorkerSession(std::string runtime_dir, OpenedSession opened);
  ~WorkerSession();

  absl::Status StartReader();
  static void* RunReader(void* session);

  // --- on the reader's thread

  void Run();
  // Also by which the daemon knows that its welcome has come.
  absl::Status SayAlive();
  // Unavailable: the daemon is gone; Cancelled: this end closes.
  absl::Status ReadUntilLost();
  // True as soon as the socket has something; false if the time is over, or another thread wants
  // the reader to look what there is to do.
  absl::StatusOr<bool> WaitForSocket(int socket, absl::Duration timeout);
  absl::Duration TimeToRetry() const;
  // Cancelled: nobody uses the session, and all is done.
  absl::Status RetryIfDue();
  absl::Status ReadFrame();
  // Again and again while there is no room for it, for a while.
  absl::Status SendPatiently(const FrameView& frame);
  void Keep(Frame frame);
  void CloseSocket();
  // Until the session stands again, or never will.
  absl::Status ResumeSession();
  absl::Status TryToResume();

  absl::Status EndedStatus() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const std::string runtime_dir_;  // empty: never resumed
  const v1::SessionWelcome welcome_;
  UniqueFd stop_event_;  // readable: the reader is to return
  UniqueFd wake_event_;  // readable: the reader is to look what there is to do
  const ProcessStamp stamp_;
  pthread_t reader_{};
  bool reader_runs_ = false;
  // The reader's own, once it runs.
  UniqueFd socket_;
  UniqueFd liveness_page_;
  bool expects_alive_;
  std::unique_ptr<LivenessLock> alive_;

  mutable absl::Mutex mutex_;
  // Signalled when the reader's thread has changed what EnsureConnected or TakeTransfer wait for:
  // connected_, interruptions_, failed_attempts_, pending_, overflowed_up_to_, lost_up_to_, end_.
  SteadyCondVar changed_;
  bool connected_ ABSL_GUARDED_BY(mutex_) = true;
  uint64_t interruptions_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t failed_attempts_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status last_failure_ ABSL_GUARDED_BY(mutex_);
  absl::Duration rendezvous_timeout_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_resume_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_retry_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_unused_ ABSL_GUARDED_BY(mutex_);
  std::optional<SteadyTime> retry_at_ ABSL_GUARDED_BY(mutex_);
  bool retrying_ ABSL_GUARDED_BY(mutex_) = false;  // the reader is in on_retry_
  std::optional<SteadyTime> lingers_until_ ABSL_GUARDED_BY(mutex_);
  int expectations_ ABSL_GUARDED_BY(mutex_) = 0;
  // By transfer id, which grows.
  std::map<uint64_t, Transfer> pending_ ABSL_GUARDED_BY(mutex_);
  // Transfers up to here that are not in pending_ were taken, or dropped to make room.
  uint64_t overflowed_up_to_ ABSL_GUARDED_BY(mutex_) = 0;
  // Transfers up to here were an earlier connection's: who waits for one waits in vain.
  uint64_t lost_up_to_ ABSL_GUARDED_BY(mutex_) = 0;
  // Not OK: the reader has ended, for this reason.
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace nodecomm
