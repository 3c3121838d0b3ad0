#include "daemon/topology/admission.h"

#include <utility>

#include "absl/strings/str_format.h"

namespace nodecomm {

void Admission::SetRules(FastPathPolicy policy, GpuUsers users) {
  absl::MutexLock lock(&mu_);
  policy_ = policy;
  users_ = std::move(users);
}

absl::Status Admission::CheckUser(uid_t uid, const std::string& gpu_uuid) const {
  absl::MutexLock lock(&mu_);
  const auto users = users_.find(gpu_uuid);
  if (users == users_.end() || users->second.contains(uid)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrFormat("user %d may not use GPU %s: the daemon's configuration reserves it for "
                      "others (gpu_access)",
                      uid, gpu_uuid));
}

v1::FastPath Admission::DecideFastPath(std::span<const std::string> gpu_uuids) const {
  FastPathPolicy policy;
  {
    absl::MutexLock lock(&mu_);
    policy = policy_;
  }
  return nodecomm::DecideFastPath(state_->host(), state_->proofs(), gpu_uuids, policy);
}

}  // namespace nodecomm
