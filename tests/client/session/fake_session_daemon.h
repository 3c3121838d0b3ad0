// The daemon's end of session.sock, as far as a worker sees it: welcomes everybody, says nothing
// more by itself. Not the real session server: that has tests of its own.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "client/base/unique_fd.h"

namespace nodecomm {

class FakeSessionDaemon {
 public:
  // Listens on `runtime_dir`/session.sock.
  explicit FakeSessionDaemon(const std::string& runtime_dir);
  ~FakeSessionDaemon();

  int connections() const;
  // Closes the daemon's end of all sessions, as its death would.
  void CloseSessions();

 private:
  void Serve();

  UniqueFd listener_;
  UniqueFd stop_event_;
  mutable absl::Mutex mutex_;
  std::vector<UniqueFd> sessions_ ABSL_GUARDED_BY(mutex_);
  int connections_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread server_;
};

// What a daemon of this library's version sends.
std::string WelcomePayload();

}  // namespace nodecomm
