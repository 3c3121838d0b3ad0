#include "daemon/main/gpu_service.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "daemon/main/drained_gpus.h"
#include "daemon/main/log.h"
#include "daemon/service/gpu_holders.h"

namespace nodecomm {
namespace {

constexpr char kNotWatched[] =
    "critical errors (Xid) are watched on no GPU while one is drained: NVML opens all or none";

bool IsKnown(const v1::Host& host, const std::string& uuid) {
  return std::any_of(host.gpus().begin(), host.gpus().end(),
                     [&](const v1::Gpu& gpu) { return gpu.uuid() == uuid; });
}

absl::Status UnknownError(const std::string& uuid) {
  return absl::NotFoundError(absl::StrFormat("this host has no GPU %s", Escaped(uuid)));
}

bool IsLost(const v1::Host& host, const std::string& uuid) {
  return std::any_of(host.gpus().begin(), host.gpus().end(), [&](const v1::Gpu& gpu) {
    return gpu.uuid() == uuid && gpu.condition() == v1::GPU_CONDITION_LOST;
  });
}

// A group that goes on and holds memory there.
bool HasGroupToAbort(const std::vector<v1::GroupInfo>& groups, const std::string& uuid) {
  return std::any_of(groups.begin(), groups.end(), [&](const v1::GroupInfo& group) {
    return group.state() != v1::GROUP_STATE_ABORTED && group.holds_memory() &&
           std::any_of(group.members().begin(), group.members().end(),
                       [&](const v1::GroupMember& member) { return member.gpu_uuid() == uuid; });
  });
}

}  // namespace

GpuService::GpuService(Parts parts, StartWatcher start_watcher, ReadHost read_host,
                       std::string drained_path, std::set<std::string> drained)
    : parts_(parts),
      start_watcher_(std::move(start_watcher)),
      read_host_(std::move(read_host)),
      drained_path_(std::move(drained_path)),
      drained_(std::move(drained)),
      saved_(drained_) {
  for (const std::string& uuid : drained_) {
    if (!IsKnown(parts_.host->host(), uuid)) gone_.insert(uuid);
  }
}

absl::Status GpuService::Start() {
  absl::MutexLock lock(&mu_);
  for (const std::string& uuid : drained_) {
    Log(spdlog::level::warn, {.gpu = uuid}, "stays drained, as it was before the daemon's start{}",
        IsKnown(parts_.host->host(), uuid)
            ? ""
            : ", though this host has no such GPU: nodecommctl undrain with its UUID forgets it");
  }
  return HoldOnlyServed();
}

std::vector<std::string> GpuService::DrainedAndGone() const {
  absl::MutexLock lock(&shown_mu_);
  return {gone_.begin(), gone_.end()};
}

std::string GpuService::WhyErrorsAreNotWatched() const {
  absl::MutexLock lock(&shown_mu_);
  return holds_all_ ? watcher_problem_ : kNotWatched;
}

void GpuService::TakeWatcherNews(std::string_view problem) {
  if (!problem.empty()) spdlog::warn("{}", Escaped(problem));
  absl::MutexLock lock(&shown_mu_);
  if (problem.empty() && !watcher_problem_.empty()) spdlog::info("GPU errors are watched again");
  watcher_problem_ = std::string(problem);
}

bool GpuService::ReadUnlessDrained(absl::FunctionRef<void()> read) {
  {
    absl::MutexLock lock(&shown_mu_);
    if (!holds_all_) return false;
    ++readings_;
  }
  read();
  absl::MutexLock lock(&shown_mu_);
  --readings_;
  return true;
}

bool GpuService::IsBeingRead() const {
  absl::MutexLock lock(&shown_mu_);
  return readings_ > 0;
}

void GpuService::SetHoldsAll(bool holds_all) {
  absl::MutexLock lock(&shown_mu_);
  holds_all_ = holds_all;
}

std::optional<std::vector<std::string>> GpuService::Served(const v1::Host& host,
                                                           const std::set<std::string>& drained) {
  if (drained.empty()) return std::nullopt;
  std::vector<std::string> served;
  for (const v1::Gpu& gpu : host.gpus()) {
    if (!drained.contains(gpu.uuid())) served.push_back(gpu.uuid());
  }
  return served;
}

absl::Status GpuService::Save() {
  if (drained_ == saved_) return absl::OkStatus();
  absl::Status written = WriteDrainedGpus(drained_path_, drained_);
  if (!written.ok() && !save_failed_) {
    spdlog::warn(
        "which GPUs are drained is not remembered over a restart: {}; once that is mended, drain "
        "or undrain again",
        Escaped(written));
  } else if (written.ok() && save_failed_) {
    spdlog::info("which GPUs are drained is remembered again");
  }
  save_failed_ = !written.ok();
  if (written.ok()) saved_ = drained_;
  return written;
}

absl::StatusOr<v1::DrainGpuResponse> GpuService::Drain(const v1::DrainGpuRequest& request) {
  const std::string& uuid = request.gpu_uuid();
  if (!IsKnown(parts_.host->host(), uuid)) return UnknownError(uuid);
  absl::MutexLock lock(&mu_);
  if (request.begun() && !drained_.contains(uuid)) {
    return absl::FailedPreconditionError(
        absl::StrFormat("GPU %s was taken back while it was drained (undrain)", uuid));
  }
  if (drained_.insert(uuid).second) {
    Log(spdlog::level::info, {.gpu = uuid}, "draining");
    // No group gets the fast path on it from here on, and the pool makes nothing there.
    parts_.host->SetCondition(uuid, v1::GPU_CONDITION_DRAINING, kDrainReason);
    parts_.pool->Close(uuid);
    ABSL_RETURN_IF_ERROR(HoldOnlyServed());
  }
  // Nobody is told that it is drained before a daemon that comes back would know.
  if (const absl::Status saved = Save(); !saved.ok()) {
    return absl::Status(
        saved.code(),
        absl::StrFormat("GPU %s is out of service, but that is not remembered over a restart of "
                        "the daemon: %s; drain it again once that is mended, or undrain it",
                        uuid, saved.message()));
  }
  // Whoever waits asks again and again; groups that gather meanwhile get no memory there, and need
  // not be ended.
  const bool may_abort = !request.begun() || HasGroupToAbort(parts_.groups->List(), uuid);
  if (request.abort_groups() && may_abort && !HoldsNothing(parts_.pool->List(), uuid)) {
    parts_.groups->AbortOnGpu(uuid, absl::StrCat("GPU ", uuid, " is ", kDrainReason));
  }
  v1::DrainGpuResponse response;
  for (std::string& name : GroupsOn(parts_.groups->List(), uuid)) {
    *response.add_groups() = std::move(name);
  }
  response.set_drained(response.groups().empty() && HoldsNothing(parts_.pool->List(), uuid) &&
                       !parts_.prover->IsTrying(uuid) && !IsBeingRead());
  response.set_note(kNotWatched);
  return response;
}

absl::StatusOr<v1::UndrainGpuResponse> GpuService::Undrain(const v1::UndrainGpuRequest& request) {
  const std::string& uuid = request.gpu_uuid();
  const bool is_here = IsKnown(parts_.host->host(), uuid);
  absl::MutexLock lock(&mu_);
  const bool was_drained = drained_.erase(uuid) > 0;
  // One that was taken out of the host while it was drained is forgotten all the same.
  if (!is_here && !was_drained) return UnknownError(uuid);
  if (!was_drained && !IsLost(parts_.host->host(), uuid)) {
    ABSL_RETURN_IF_ERROR(Save());
    return v1::UndrainGpuResponse();
  }
  if (const absl::Status back = is_here ? TakeBack(uuid) : HoldOnlyServed(); !back.ok()) {
    if (was_drained) drained_.insert(uuid);
    return back;
  }
  if (!is_here) {
    absl::MutexLock shown(&shown_mu_);
    gone_.erase(uuid);
  }
  const bool is_lost = IsLost(parts_.host->host(), uuid);
  const std::string outcome = !is_here  ? "forgotten, as it is gone"
                              : is_lost ? (was_drained ? "drained no more, but lost" : "still lost")
                                        : "back in service";
  Log(is_lost ? spdlog::level::warn : spdlog::level::info, {.gpu = uuid}, "{}", outcome);
  if (const absl::Status saved = Save(); !saved.ok()) {
    return absl::Status(saved.code(),
                        absl::StrFormat("GPU %s is %s, but a restart of the daemon would drain it "
                                        "again: %s; undrain it again once that is mended",
                                        uuid, outcome, saved.message()));
  }
  return v1::UndrainGpuResponse();
}

absl::Status GpuService::TakeBack(const std::string& uuid) {
  // What can fail comes first.
  ABSL_RETURN_IF_ERROR(HoldOnlyServed());
  // Also where it was lost: an administrator says that it is well.
  parts_.host->SetCondition(uuid, v1::GPU_CONDITION_UNSPECIFIED, "");
  if (drained_.empty()) read_host_();  // which may say otherwise
  parts_.pool->Open(uuid);
  // What was found out before a reset says nothing of what is there now.
  parts_.host->ForgetProofs(uuid);
  parts_.prover->StartAfterwards();
  return absl::OkStatus();
}

absl::Status GpuService::HoldOnlyServed() {
  if (drained_.empty()) {
    // First, since it may fail; then nothing has changed. There are two watchers for a moment where
    // there was one.
    ABSL_ASSIGN_OR_RETURN(
        std::unique_ptr<GpuWatcher> watcher,
        start_watcher_([this](std::string_view problem) { TakeWatcherNews(problem); }));
    watcher_ = std::move(watcher);
    SetHoldsAll(true);
    parts_.source->ServeOnly(std::nullopt);
    return absl::OkStatus();
  }
  SetHoldsAll(false);
  watcher_ = nullptr;
  spdlog::warn("{}", kNotWatched);
  parts_.source->ServeOnly(Served(parts_.host->host(), drained_));
  return absl::OkStatus();
}

}  // namespace nodecomm
