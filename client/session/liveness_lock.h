// This process's hold on its liveness page (proto/liveness_page.h): a robust mutex that the kernel
// releases as soon as the thread dies, by which the daemon knows. Not a lock that anybody waits
// for. Design note: client/README.md, "session".
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "client/base/unique_fd.h"

namespace nodecomm {

// The thread that takes it must be the one that destroys it, and must live as long as the session.
class LivenessLock {
 public:
  // Maps the page, which the daemon made for this session, and locks it.
  static absl::StatusOr<std::unique_ptr<LivenessLock>> Take(UniqueFd page);
  ~LivenessLock();
  LivenessLock(const LivenessLock&) = delete;
  LivenessLock& operator=(const LivenessLock&) = delete;

 private:
  explicit LivenessLock(void* page) : page_(page) {}

  void* const page_;
};

}  // namespace nodecomm
