// One run of the program nodecomm-allocator: started, asked, and killed at the latest with this
// object. Not the restart of a dead one: that is AllocatorPlaneSource's. Design note:
// daemon/memory/README.md, "the allocator".
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/memory/plane_source.h"

namespace nodecomm {

// One thread at a time.
class AllocatorChild {
 public:
  // Does not wait for the program to be ready: the first Ask does.
  static absl::StatusOr<std::unique_ptr<AllocatorChild>> Start(const std::string& program);
  // Kills and reaps.
  ~AllocatorChild();
  AllocatorChild(const AllocatorChild&) = delete;
  AllocatorChild& operator=(const AllocatorChild&) = delete;

  pid_t pid() const { return pid_; }
  // False once the process has ended.
  bool IsAlive() const;

  // The child's own answer, or Unavailable: it died, did not answer in time, or answered with what
  // is no answer to this request. After any Unavailable, its own too, the child is of no further
  // use.
  struct Answer {
    bool usable = false;  // whether the child can be asked again
    absl::StatusOr<Plane> plane = absl::UnknownError("not asked");
  };
  Answer Ask(std::string_view gpu_uuid, ByteCount bytes, absl::Duration timeout);

 private:
  AllocatorChild(pid_t pid, UniqueFd pidfd, UniqueFd socket, std::string program);
  absl::Status Broken(std::string_view what);
  // Kills the child if it lives and waits, bounded, for its end. Returns how it ended, for people.
  // Idempotent.
  std::string End();

  pid_t pid_;
  UniqueFd pidfd_;
  UniqueFd socket_;
  std::string program_;
  uint64_t next_id_ = 1;
  std::string ending_;  // not empty: reaped, or given up
};

}  // namespace nodecomm
