#include "daemon/main/logged_groups.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "daemon/main/log.h"

namespace nodecomm {

void LoggedGroups::Join(const Caller& caller, const v1::JoinGroupRequest& request, JoinDone done) {
  groups_->Join(caller, request,
                [name = Escaped(request.name()), rank = request.rank(), pid = caller.pid,
                 done = std::move(done)](absl::StatusOr<v1::JoinGroupResponse> answer) mutable {
                  if (answer.ok()) {
                    spdlog::debug("group {} \"{}\": rank {} is pid {}", answer->generation(), name,
                                  rank, pid);
                  } else {
                    spdlog::warn("group \"{}\": rank {} (pid {}) could not join: {}", name, rank,
                                 pid, Escaped(answer.status()));
                  }
                  done(std::move(answer));
                });
}

void LoggedGroups::Confirm(const Caller& caller, const v1::ConfirmGroupRequest& request,
                           ConfirmDone done) {
  groups_->Confirm(caller, request,
                   [generation = request.generation(), rank = request.rank(), pid = caller.pid,
                    done = std::move(done)](absl::Status status) mutable {
                     if (!status.ok()) {
                       spdlog::warn("group {}: rank {} (pid {}) did not become ready: {}",
                                    generation, rank, pid, Escaped(status));
                     } else if (rank == 0) {  // one line a group: all ranks are answered together
                       spdlog::info("group {}: ready", generation);
                     }
                     done(std::move(status));
                   });
}

void LoggedGroups::AllocateShared(const Caller& caller, const v1::AllocateSharedRequest& request,
                                  SharedDone done) {
  groups_->AllocateShared(caller, request, std::move(done));
}

absl::Status LoggedGroups::FreeShared(const Caller& caller, const v1::FreeSharedRequest& request) {
  return groups_->FreeShared(caller, request);
}

absl::Status LoggedGroups::Leave(const Caller& caller, const v1::LeaveGroupRequest& request) {
  absl::Status status = groups_->Leave(caller, request);
  if (status.ok()) spdlog::debug("group {}: rank {} left", request.generation(), request.rank());
  return status;
}

absl::Status LoggedGroups::Abort(const Caller& caller, const v1::AbortGroupRequest& request) {
  absl::Status status = groups_->Abort(caller, request);
  if (status.ok()) {
    spdlog::warn("group {}: aborted by rank {} (pid {}): {}", request.generation(), request.rank(),
                 caller.pid, Escaped(request.reason()));
  }
  return status;
}

void LoggedGroups::SessionDied(SessionId session, std::string_view cause) {
  groups_->SessionDied(session, cause);
  spdlog::info("session {:016x}: {}", session.value, Escaped(cause));
}

void LoggedGroups::SessionEnded(SessionId session, std::string_view cause) {
  groups_->SessionEnded(session, cause);
}

void LoggedGroups::GpuLost(std::string_view gpu_uuid, std::string_view cause) {
  groups_->GpuLost(gpu_uuid, cause);
  spdlog::error("GPU {} is lost: {}", Escaped(gpu_uuid), Escaped(cause));
}

void LoggedGroups::AbortOnGpu(std::string_view gpu_uuid, std::string_view reason) {
  groups_->AbortOnGpu(gpu_uuid, reason);
  spdlog::warn("groups on GPU {} are aborted: {}", Escaped(gpu_uuid), Escaped(reason));
}

absl::Status LoggedGroups::AbortByAdmin(uint64_t generation, std::string_view reason) {
  absl::Status status = groups_->AbortByAdmin(generation, reason);
  if (status.ok()) {
    spdlog::warn("group {}: aborted by the administrator: {}", generation, Escaped(reason));
  }
  return status;
}

void LoggedGroups::StopForming(std::string_view reason) {
  groups_->StopForming(reason);
  spdlog::info("no group is formed any more: {}", Escaped(reason));
}

void LoggedGroups::AbortAll(std::string_view reason) {
  groups_->AbortAll(reason);
  spdlog::warn("all groups are aborted: {}", Escaped(reason));
}

void LoggedGroups::SetLimits(const Limits& limits) { groups_->SetLimits(limits); }

std::vector<v1::GroupInfo> LoggedGroups::List() const { return groups_->List(); }

}  // namespace nodecomm
