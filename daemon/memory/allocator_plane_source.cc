#include "daemon/memory/allocator_plane_source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "daemon/memory/allocator_child.h"
#include "daemon/process/child_process.h"

namespace nodecomm {
namespace {

constexpr std::string_view kProgramName = "nodecomm-allocator";

}  // namespace

absl::StatusOr<std::unique_ptr<AllocatorPlaneSource>> AllocatorPlaneSource::Open(Options options) {
  if (options.program.empty()) {
    ABSL_ASSIGN_OR_RETURN(options.program, ProgramBesideThisOne(kProgramName));
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
  if (served_.has_value() &&
      std::find(served_->begin(), served_->end(), gpu_uuid) == served_->end()) {
    return absl::UnavailableError(absl::StrFormat("GPU %s is out of service", gpu_uuid));
  }
  if (child_ == nullptr || !child_->IsAlive()) {
    child_has_answered_ = false;
    ABSL_ASSIGN_OR_RETURN(
        child_,
        AllocatorChild::Start(options_.program, served_.value_or(std::vector<std::string>())));
  }
  AllocatorChild::Answer answer =
      child_->Ask(gpu_uuid, bytes,
                  child_has_answered_ ? options_.answer_timeout : options_.first_answer_timeout);
  child_has_answered_ = true;
  if (!answer.usable || served_.has_value()) child_ = nullptr;
  return std::move(answer.plane);
}

void AllocatorPlaneSource::ServeOnly(const std::optional<std::vector<std::string>>& gpu_uuids) {
  absl::MutexLock lock(&mu_);
  if (served_ == gpu_uuids) return;
  served_ = gpu_uuids;
  child_ = nullptr;
}

}  // namespace nodecomm
