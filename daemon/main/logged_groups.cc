#include "daemon/main/logged_groups.h"

#include <spdlog/spdlog.h>

#include <optional>
#include <utility>

#include "daemon/main/log.h"
#include "proto/control_page.h"

namespace nodecomm {
namespace {

LogFields FieldsOf(const Caller& caller, int rank) {
  return {.session = caller.session, .rank = rank, .uid = caller.uid, .pid = caller.pid};
}

}  // namespace

void LoggedGroups::Join(const Caller& caller, const v1::JoinGroupRequest& request, JoinDone done) {
  groups_->Join(caller, request,
                [name = request.name(), rank = request.rank(), caller, limit = failed_joins_logged_,
                 done = std::move(done)](absl::StatusOr<v1::JoinGroupResponse> answer) mutable {
                  LogFields fields = FieldsOf(caller, rank);
                  fields.group_name = name;
                  if (answer.ok()) {
                    fields.group = answer->generation();
                    Log(spdlog::level::debug, fields, "joined");
                  } else if (const std::optional<int> left_out = limit->Take(SteadyNow())) {
                    Log(spdlog::level::warn, fields, "could not join: {}{}",
                        Escaped(answer.status()), LeftOut(*left_out));
                  }
                  done(std::move(answer));
                });
}

void LoggedGroups::Confirm(const Caller& caller, const v1::ConfirmGroupRequest& request,
                           ConfirmDone done) {
  groups_->Confirm(
      caller, request,
      [generation = request.generation(), rank = request.rank(), caller,
       limit = failed_confirms_logged_, done = std::move(done)](absl::Status status) mutable {
        std::optional<int> left_out;
        if (!status.ok()) left_out = limit->Take(SteadyNow());
        if (left_out.has_value()) {
          LogFields fields = FieldsOf(caller, rank);
          fields.group = generation;
          Log(spdlog::level::warn, fields, "did not become ready: {}{}", Escaped(status),
              LeftOut(*left_out));
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
  if (status.ok()) {
    LogFields fields = FieldsOf(caller, request.rank());
    fields.group = request.generation();
    Log(spdlog::level::debug, fields, "left");
  }
  return status;
}

absl::Status LoggedGroups::Abort(const Caller& caller, const v1::AbortGroupRequest& request) {
  absl::Status status = groups_->Abort(caller, request);
  if (!status.ok() || request.join_attempt() != 0) return status;
  // Also of groups that are over already, as often as a member likes.
  if (const std::optional<int> left_out = aborts_logged_.Take(SteadyNow())) {
    LogFields fields = FieldsOf(caller, request.rank());
    fields.group = request.generation();
    // No more of it than the members see.
    Log(spdlog::level::warn, fields, "aborted: {}{}",
        Escaped(request.reason().substr(0, kControlPageReasonBytes)), LeftOut(*left_out));
  }
  return status;
}

void LoggedGroups::SessionDied(SessionId session, std::string_view cause) {
  groups_->SessionDied(session, cause);
  // Its end, which is told by user, follows.
  if (const std::optional<int> left_out = deaths_logged_.Take(SteadyNow())) {
    Log(spdlog::level::info, {.session = session}, "{}{}", Escaped(cause), LeftOut(*left_out));
  }
}

void LoggedGroups::SessionEnded(SessionId session, std::string_view cause) {
  groups_->SessionEnded(session, cause);
}

void LoggedGroups::GpuLost(std::string_view gpu_uuid, std::string_view cause) {
  groups_->GpuLost(gpu_uuid, cause);
  Log(spdlog::level::err, {.gpu = gpu_uuid}, "GPU lost: {}", Escaped(cause));
}

void LoggedGroups::AbortOnGpu(std::string_view gpu_uuid, std::string_view reason) {
  groups_->AbortOnGpu(gpu_uuid, reason);
  Log(spdlog::level::warn, {.gpu = gpu_uuid}, "groups there are aborted: {}", Escaped(reason));
}

absl::Status LoggedGroups::AbortByAdmin(uint64_t generation, std::string_view reason) {
  absl::Status status = groups_->AbortByAdmin(generation, reason);
  if (status.ok()) {
    Log(spdlog::level::warn, {.group = generation}, "aborted by the administrator: {}",
        Escaped(reason));
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
