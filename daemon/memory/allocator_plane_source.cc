#include "daemon/memory/allocator_plane_source.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "daemon/memory/allocator_child.h"

namespace nodecomm {
namespace {

constexpr std::string_view kProgramName = "nodecomm-allocator";

absl::StatusOr<std::string> ProgramBesideThisOne() {
  std::array<char, PATH_MAX> path;
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  if (length < 0) {
    return absl::UnavailableError(
        absl::StrFormat("looking for %s: %s", kProgramName,
                        absl::ErrnoToStatus(errno, "/proc/self/exe").message()));
  }
  const std::string_view self(path.data(), static_cast<size_t>(length));
  return absl::StrFormat("%s/%s", self.substr(0, self.rfind('/')), kProgramName);
}

}  // namespace

absl::StatusOr<std::unique_ptr<AllocatorPlaneSource>> AllocatorPlaneSource::Open(Options options) {
  if (options.program.empty()) {
    ABSL_ASSIGN_OR_RETURN(options.program, ProgramBesideThisOne());
  }
  return std::unique_ptr<AllocatorPlaneSource>(new AllocatorPlaneSource(std::move(options)));
}

AllocatorPlaneSource::AllocatorPlaneSource(Options options) : options_(std::move(options)) {}

AllocatorPlaneSource::~AllocatorPlaneSource() = default;

absl::StatusOr<Plane> AllocatorPlaneSource::Create(std::string_view gpu_uuid, ByteCount bytes) {
  if (bytes.value == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a plane of 0 bytes was asked for on %s", gpu_uuid));
  }
  absl::MutexLock lock(&mu_);
  if (child_ == nullptr || !child_->IsAlive()) {
    child_has_answered_ = false;
    ABSL_ASSIGN_OR_RETURN(child_, AllocatorChild::Start(options_.program));
  }
  AllocatorChild::Answer answer =
      child_->Ask(gpu_uuid, bytes,
                  child_has_answered_ ? options_.answer_timeout : options_.first_answer_timeout);
  child_has_answered_ = true;
  if (!answer.usable) child_ = nullptr;
  return std::move(answer.plane);
}

}  // namespace nodecomm
