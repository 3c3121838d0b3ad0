#include <utility>

#include "daemon/memory/plane_pool.h"

namespace nodecomm {

PlaneLease::PlaneLease(PlanePool* pool, std::string gpu_uuid, Plane plane)
    : pool_(pool), gpu_uuid_(std::move(gpu_uuid)), plane_(std::move(plane)) {}

PlaneLease::PlaneLease(PlaneLease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      gpu_uuid_(std::move(other.gpu_uuid_)),
      plane_(std::move(other.plane_)) {}

PlaneLease& PlaneLease::operator=(PlaneLease&& other) noexcept {
  if (this != &other) {
    Release();
    pool_ = std::exchange(other.pool_, nullptr);
    gpu_uuid_ = std::move(other.gpu_uuid_);
    plane_ = std::move(other.plane_);
  }
  return *this;
}

PlaneLease::~PlaneLease() { Release(); }

void PlaneLease::Release() {
  if (pool_ == nullptr) return;
  // Closed before the account says so: what the account calls free should be free.
  plane_.fd.Reset();
  std::exchange(pool_, nullptr)->Returned(gpu_uuid_, plane_.bytes);
}

}  // namespace nodecomm
