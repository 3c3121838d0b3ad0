// The daemon's end of session.sock, as far as a worker sees it: welcomes everybody, or refuses who
// wants to resume, and says nothing more by itself. Not the real session server: that has tests of
// its own.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/base/unique_fd.h"
#include "nodecomm/v1/session.pb.h"

namespace nodecomm {

class FakeSessionDaemon {
 public:
  // Listens on `runtime_dir`/session.sock.
  explicit FakeSessionDaemon(const std::string& runtime_dir);
  ~FakeSessionDaemon();

  int connections() const;
  // Closes the daemon's end of all sessions, as its death would.
  void CloseSessions();
  // To the last that was opened or resumed; no file descriptors in it.
  void SendTransfer(uint64_t transfer_id);
  // From now on its welcomes say so.
  void SetRendezvousTimeout(absl::Duration timeout);
  // From now on it has never heard of any session.
  void ForgetSessions();
  // What the last worker said first.
  v1::SessionHello last_hello() const;

 private:
  void Serve();

  UniqueFd listener_;
  UniqueFd stop_event_;
  mutable absl::Mutex mutex_;
  std::vector<UniqueFd> sessions_ ABSL_GUARDED_BY(mutex_);
  int connections_ ABSL_GUARDED_BY(mutex_) = 0;
  bool forgetful_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration rendezvous_timeout_ ABSL_GUARDED_BY(mutex_);
  v1::SessionHello last_hello_ ABSL_GUARDED_BY(mutex_);
  std::thread server_;
};

// What a daemon of this library's version sends.
std::string WelcomePayload(absl::Duration rendezvous_timeout = absl::ZeroDuration());
inline constexpr uint64_t kFakeLastTransfer = 1000;

}  // namespace nodecomm
