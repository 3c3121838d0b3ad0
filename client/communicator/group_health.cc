#include "client/communicator/group_health.h"

#include <bit>
#include <cstring>
#include <string_view>

#include "absl/strings/str_format.h"

namespace nodecomm::client {
namespace {

using kernels::FailureRecord;

absl::Status LeftError(int rank) {
  return absl::FailedPreconditionError(absl::StrFormat(
      "rank %d has left the group: calls that began later cannot complete; form the group anew",
      rank));
}

}  // namespace

absl::Status GroupHealth::Explain() const {
  if (Load(page_->stop) != 0) return ExplainStop();
  if (const std::optional<std::string> finding = OwnFinding()) return absl::AbortedError(*finding);
  const uint32_t state = Load(failure_->state);
  if (state == FailureRecord::kLeft) return LeftError(failure_->missing_rank);
  // Before the poison of a peer: what it found out by itself may be that a rank had left.
  const uint32_t others = Load(page_->left_mask) & ~(uint32_t{1} << own_rank_.value);
  if (others != 0) return LeftError(std::countr_zero(others));
  if (state == FailureRecord::kNone) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrFormat("another rank gave the group up at call (epoch) %d; its own status says why",
                      failure_->epoch));
}

absl::Status GroupHealth::ExplainStop() const {
  // The daemon's reason names rank and process.
  const std::string_view reason(page_->reason, strnlen(page_->reason, kControlPageReasonBytes));
  return absl::AbortedError(absl::StrFormat("the group was aborted: %s; form it anew", reason));
}

std::optional<std::string> GroupHealth::OwnFinding() const {
  switch (Load(failure_->state)) {
    case FailureRecord::kTimeout:
      return absl::StrFormat("rank %d did not come in time at call (epoch) %d",
                             failure_->missing_rank, failure_->epoch);
    case FailureRecord::kOverlap:
      return absl::StrFormat(
          "two all-reduces of rank %d overlapped at call (epoch) %d: a communicator has one call "
          "in "
          "flight at a time; order its streams with events, or give each stream a communicator",
          own_rank_.value, failure_->epoch);
    default:
      return std::nullopt;
  }
}

}  // namespace nodecomm::client
