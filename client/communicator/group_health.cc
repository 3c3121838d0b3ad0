#include "client/communicator/group_health.h"

#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"

namespace nodecomm::client {
namespace {

using kernels::FailureRecord;

absl::Status LeftError(int rank) {
  return absl::FailedPreconditionError(absl::StrFormat(
      "rank %d has left the group: calls that began later cannot complete; form the group anew",
      rank));
}

std::string TypeName(uint32_t type) {
  switch (static_cast<kernels::ElementType>(type)) {
    case kernels::ElementType::kFloat32:
      return "float32";
    case kernels::ElementType::kFloat16:
      return "float16";
    case kernels::ElementType::kBfloat16:
      return "bfloat16";
  }
  return absl::StrFormat("type %u", type);
}

std::string FactsText(const kernels::CallFacts& facts) {
  return absl::StrFormat("%u bytes of %s", facts.bytes, TypeName(facts.type));
}

}  // namespace

absl::Status GroupHealth::Explain() const {
  if (Load(page_->stop) != 0) return ExplainStop();
  if (const std::optional<std::string> finding = OwnFinding()) return absl::AbortedError(*finding);
  const uint32_t state = Load(failure_->state);
  if (state == FailureRecord::kLeft) return LeftError(failure_->missing_rank);
  // Before the poison of a peer: what it found out by itself may be that a rank had left. Who has
  // left itself calls no more, so it does not miss the others.
  const uint32_t left = Load(page_->left_mask);
  const bool own_left = (left >> own_rank_.value & 1) != 0;
  if (left != 0 && !own_left) return LeftError(std::countr_zero(left));
  if (state == FailureRecord::kNone) return absl::OkStatus();
  // Where the daemon is away, all that is known here.
  const int missing = failure_->missing_rank;
  return absl::AbortedError(absl::StrFormat(
      "another rank gave the group up at %s%s; its own status says why", CallName(),
      missing < 0 ? "" : absl::StrFormat(", while this one waited for rank %d", missing)));
}

absl::Status GroupHealth::ExplainStop() const {
  // The daemon's reason names rank and process.
  const std::string_view reason(page_->reason, strnlen(page_->reason, kControlPageReasonBytes));
  return absl::AbortedError(absl::StrFormat("the group was aborted: %s; form it anew", reason));
}

std::optional<std::string> GroupHealth::OwnFinding() const {
  switch (Load(failure_->state)) {
    case FailureRecord::kTimeout:
      return absl::StrFormat("rank %d did not come in time at %s", failure_->missing_rank,
                             CallName());
    case FailureRecord::kOverlap:
      return absl::StrFormat(
          "two all-reduces of rank %d overlapped at %s: a communicator has one call in flight at a "
          "time; order its streams with events, or give each stream a communicator",
          own_rank_.value, CallName());
    case FailureRecord::kMismatch:
      return ExplainMismatch();
    default:
      return std::nullopt;
  }
}

std::string GroupHealth::ExplainMismatch() const {
  int rank = own_rank_.value;
  int other_rank = failure_->missing_rank;
  kernels::CallFacts facts = failure_->own;
  kernels::CallFacts other = failure_->other;
  // By rank, so that both say the same.
  if (other_rank < rank) {
    std::swap(rank, other_rank);
    std::swap(facts, other);
  }
  return absl::StrFormat("rank %d calls %s with %s, but rank %d with %s", rank, CallName(),
                         FactsText(facts), other_rank, FactsText(other));
}

std::string GroupHealth::CallName() const {
  // Epochs count chunks, and are known where calls are not counted.
  return failure_->sequence != 0 ? absl::StrFormat("all-reduce no. %u", failure_->sequence)
                                 : absl::StrFormat("call (epoch) %u", failure_->epoch);
}

}  // namespace nodecomm::client
