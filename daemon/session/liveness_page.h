// The daemon's end of one worker's liveness page (proto/liveness_page.h).
// Not the waiting for a death: death_watcher.h. Design note: daemon/README.md, "death".
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "client/base/unique_fd.h"

namespace nodecomm {

// Thread-safe. The worker can write the page, but not shrink it under the daemon.
class LivenessPage {
 public:
  static absl::StatusOr<std::shared_ptr<LivenessPage>> Create();
  ~LivenessPage();
  LivenessPage(const LivenessPage&) = delete;
  LivenessPage& operator=(const LivenessPage&) = delete;

  // For the worker; owned by this object.
  int fd() const { return fd_.get(); }

  // Whether anybody has written in the page. The kernel books memory on whoever touches it first,
  // and a worker can keep a page for good: so nobody looks at one that its worker has not touched.
  bool IsTouched() const;

  // The futex word. A plain word on purpose: the C library's lock functions follow pointers that
  // lie beside it, which the worker can write.
  uint32_t* word() const { return word_; }

 private:
  LivenessPage(UniqueFd fd, uint32_t* word);

  const UniqueFd fd_;
  uint32_t* const word_;
};

}  // namespace nodecomm
