// Writes the life of groups to the log: ready, left, aborted, failed joins.
// Not a registry: every call goes to the one behind it, and every answer comes from there. What a
// line is about has happened before it is written.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "client/base/quantities.h"
#include "client/base/steady_clock.h"
#include "daemon/group/group_registry.h"
#include "daemon/main/log_limit.h"

namespace nodecomm {

// In a second: those of a whole group, whose ranks fail together.
inline constexpr int kFailedGroupLinesMax = kWorldSizeMax;

// Thread-safe.
class LoggedGroups final : public GroupRegistry {
 public:
  // `groups` outlives it.
  explicit LoggedGroups(GroupRegistry* groups) : groups_(groups) {}

  void Join(const Caller& caller, const v1::JoinGroupRequest& request, JoinDone done) override;
  void Confirm(const Caller& caller, const v1::ConfirmGroupRequest& request,
               ConfirmDone done) override;
  void AllocateShared(const Caller& caller, const v1::AllocateSharedRequest& request,
                      SharedDone done) override;
  absl::Status FreeShared(const Caller& caller, const v1::FreeSharedRequest& request) override;
  absl::Status Leave(const Caller& caller, const v1::LeaveGroupRequest& request) override;
  absl::Status Abort(const Caller& caller, const v1::AbortGroupRequest& request) override;
  // What comes of it is told by the observer of groups.
  void GiveUpJoin(const Caller& caller, uint64_t attempt, std::string_view cause) override {
    groups_->GiveUpJoin(caller, attempt, cause);
  }
  void SessionDied(SessionId session, std::string_view cause) override;
  void SessionEnded(SessionId session, std::string_view cause) override;
  void GpuLost(std::string_view gpu_uuid, std::string_view cause) override;
  void AbortOnGpu(std::string_view gpu_uuid, std::string_view reason) override;
  absl::Status AbortByAdmin(uint64_t generation, std::string_view reason) override;
  void StartForming() override { groups_->StartForming(); }
  void StopForming(std::string_view reason) override;
  void AbortAll(std::string_view reason) override;
  void SetLimits(const Limits& limits) override;
  void LookAfterFiles() override { groups_->LookAfterFiles(); }
  void RunDue(SteadyTime now) override { groups_->RunDue(now); }
  std::vector<v1::GroupInfo> List() const override;

 private:
  GroupRegistry* const groups_;
  // Shared with the calls that wait, which may outlive this object.
  const std::shared_ptr<LogLimit> failed_joins_logged_ =
      std::make_shared<LogLimit>(kFailedGroupLinesMax);
  const std::shared_ptr<LogLimit> failed_confirms_logged_ =
      std::make_shared<LogLimit>(kFailedGroupLinesMax);
  LogLimit aborts_logged_{kFailedGroupLinesMax};
  LogLimit deaths_logged_{kFailedGroupLinesMax};
};

}  // namespace nodecomm
