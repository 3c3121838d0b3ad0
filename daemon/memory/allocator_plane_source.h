// Planes of real GPUs: made by the child program nodecomm-allocator, so that the daemon itself
// never loads libcuda. Not the child (daemon/allocator) and not the words between them
// (allocator_protocol.h). Design note: daemon/memory/README.md, "the allocator".
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "daemon/memory/plane_source.h"

namespace nodecomm {

class AllocatorChild;

class AllocatorPlaneSource final : public PlaneSource {
 public:
  struct Options {
    // Empty: nodecomm-allocator in the directory of this program.
    std::string program;
    // The first answer of a child includes the driver's initialisation: a second on a cold machine.
    absl::Duration first_answer_timeout = absl::Seconds(30);
    absl::Duration answer_timeout = absl::Seconds(10);
  };

  // Unavailable: the path of this program cannot be read. The child is started by the first Create.
  static absl::StatusOr<std::unique_ptr<AllocatorPlaneSource>> Open(Options options);
  ~AllocatorPlaneSource() override;

  absl::StatusOr<Plane> Create(std::string_view gpu_uuid, ByteCount bytes) override;
  // Ends the child, which the next Create starts again, with these GPUs alone in its sight. While
  // some GPUs are not served it lives for one Create only: what the driver's library opens for a
  // GPU that it is not to see is its own affair.
  void ServeOnly(const std::optional<std::vector<std::string>>& gpu_uuids) override;

 private:
  explicit AllocatorPlaneSource(Options options);

  const Options options_;
  // Held while the child is asked, by design: it serves one request at a time, and what is behind
  // it is this class's own.
  absl::Mutex mu_;
  std::unique_ptr<AllocatorChild> child_ ABSL_GUARDED_BY(mu_);
  // Not set: all of the host.
  std::optional<std::vector<std::string>> served_ ABSL_GUARDED_BY(mu_);
  bool child_has_answered_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace nodecomm
