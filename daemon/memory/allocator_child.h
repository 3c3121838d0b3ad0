// One run of the program nodecomm-allocator: started, asked, and killed at the latest with this
// object. Not the restart of a dead one: that is AllocatorPlaneSource's. Design note:
// daemon/memory/README.md, "the allocator".
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/memory/plane_source.h"
#include "daemon/process/child_process.h"

namespace nodecomm {

// One thread at a time.
class AllocatorChild {
 public:
  // Does not wait for the program to be ready: the first Ask does.
  // `gpu_uuids`: the only GPUs that it is to see; none: all.
  static absl::StatusOr<std::unique_ptr<AllocatorChild>> Start(
      const std::string& program, const std::vector<std::string>& gpu_uuids);

  pid_t pid() const { return process_->pid(); }
  // False once the process has ended.
  bool IsAlive() const;

  // The child's own answer, or Unavailable: it died, did not answer in time, or answered with what
  // is no answer to this request. After any Unavailable, its own too, the child is of no further
  // use. ResourceExhausted may be the daemon's own, too: it had no descriptor for the plane.
  struct Answer {
    bool usable = false;  // whether the child can be asked again
    absl::StatusOr<Plane> plane = absl::UnknownError("not asked");
  };
  Answer Ask(std::string_view gpu_uuid, ByteCount bytes, absl::Duration timeout);

 private:
  AllocatorChild(std::unique_ptr<ChildProcess> process, UniqueFd socket, std::string program);
  absl::Status Broken(std::string_view what);

  std::unique_ptr<ChildProcess> process_;
  UniqueFd socket_;
  std::string program_;
  uint64_t next_id_ = 1;
};

}  // namespace nodecomm
