#include "daemon/topology/host_state.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

namespace nodecomm {
namespace {

std::set<std::string> LostGpus(const v1::Host& host) {
  std::set<std::string> lost;
  for (const v1::Gpu& gpu : host.gpus()) {
    if (gpu.condition() == v1::GPU_CONDITION_LOST) lost.insert(gpu.uuid());
  }
  return lost;
}

bool HasGpu(const v1::Host& host, const std::string& uuid) {
  for (const v1::Gpu& gpu : host.gpus()) {
    if (gpu.uuid() == uuid) return true;
  }
  return false;
}

}  // namespace

HostState::HostState(v1::Host host) : host_(std::move(host)) {
  absl::MutexLock lock(&mu_);
  RememberLinkErrors();
}

v1::Host HostState::host() const {
  absl::MutexLock lock(&mu_);
  return host_;
}

v1::PeerProofs HostState::proofs() const {
  absl::MutexLock lock(&mu_);
  return proofs_;
}

std::vector<std::string> HostState::Update(v1::Host fresh) {
  absl::MutexLock lock(&mu_);
  const std::set<std::string> lost_before = LostGpus(host_);
  for (v1::Gpu& known : *host_.mutable_gpus()) {
    if (HasGpu(fresh, known.uuid())) continue;
    v1::Gpu* missing = fresh.add_gpus();
    *missing = std::move(known);
    missing->set_condition(v1::GPU_CONDITION_LOST);
    missing->set_condition_reason("the driver no longer lists it");
  }
  for (v1::Gpu& gpu : *fresh.mutable_gpus()) {
    const auto set = conditions_.find(gpu.uuid());
    if (set == conditions_.end()) continue;
    gpu.set_condition(set->second.condition);
    gpu.set_condition_reason(set->second.reason);
  }
  host_ = std::move(fresh);
  RememberLinkErrors();
  std::vector<std::string> lost_now;
  for (const std::string& uuid : LostGpus(host_)) {
    if (!lost_before.contains(uuid)) lost_now.push_back(uuid);
  }
  return lost_now;
}

void HostState::RememberLinkErrors() {
  for (const v1::Gpu& gpu : host_.gpus()) {
    if (!gpu.has_nvlink_errors()) continue;
    const auto [known, is_new] = link_errors_before_.emplace(gpu.uuid(), gpu.nvlink_errors());
    // It counts anew: the driver was loaded again, or the GPU was reset.
    if (!is_new && gpu.nvlink_errors() < known->second) known->second = 0;
  }
}

std::map<std::string, uint64_t> HostState::NewLinkErrors() const {
  absl::MutexLock lock(&mu_);
  std::map<std::string, uint64_t> errors;
  for (const v1::Gpu& gpu : host_.gpus()) {
    const auto known = link_errors_before_.find(gpu.uuid());
    if (known == link_errors_before_.end() || gpu.nvlink_errors() <= known->second) continue;
    errors[gpu.uuid()] = gpu.nvlink_errors() - known->second;
  }
  return errors;
}

void HostState::SetCondition(const std::string& gpu_uuid, v1::GpuCondition condition,
                             std::string reason) {
  absl::MutexLock lock(&mu_);
  for (v1::Gpu& gpu : *host_.mutable_gpus()) {
    if (gpu.uuid() != gpu_uuid) continue;
    gpu.set_condition(condition);
    gpu.set_condition_reason(reason);
    if (condition == v1::GPU_CONDITION_UNSPECIFIED) {
      conditions_.erase(gpu_uuid);
    } else {
      conditions_[gpu_uuid] = {condition, std::move(reason)};
    }
    return;
  }
}

void HostState::SetProof(const v1::PeerProof& proof) {
  absl::MutexLock lock(&mu_);
  for (v1::PeerProof& known : *proofs_.mutable_proofs()) {
    if (known.from_uuid() != proof.from_uuid() || known.to_uuid() != proof.to_uuid()) continue;
    known = proof;
    return;
  }
  *proofs_.add_proofs() = proof;
}

void HostState::SetProofIfNone(const v1::PeerProof& proof) {
  absl::MutexLock lock(&mu_);
  for (const v1::PeerProof& known : proofs_.proofs()) {
    if (known.from_uuid() == proof.from_uuid() && known.to_uuid() == proof.to_uuid()) return;
  }
  *proofs_.add_proofs() = proof;
}

void HostState::ForgetProofs(const std::string& gpu_uuid) {
  absl::MutexLock lock(&mu_);
  auto* proofs = proofs_.mutable_proofs();
  proofs->erase(std::remove_if(proofs->begin(), proofs->end(),
                               [&](const v1::PeerProof& proof) {
                                 return proof.from_uuid() == gpu_uuid ||
                                        proof.to_uuid() == gpu_uuid;
                               }),
                proofs->end());
}

void HostState::SetProofs(v1::PeerProofs proofs) {
  absl::MutexLock lock(&mu_);
  proofs_ = std::move(proofs);
}

}  // namespace nodecomm
