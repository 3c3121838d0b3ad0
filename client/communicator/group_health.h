// Whether a group still works, read from words in host memory: the daemon's control page and this
// rank's failure record. Not a question to the daemon: it costs three loads, and holds when the
// daemon is gone. Design note: client/README.md, "life of a communicator".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "client/base/quantities.h"
#include "kernels/all_reduce.h"
#include "proto/control_page.h"

namespace nodecomm::client {

// Thread-safe.
class GroupHealth {
 public:
  // Both outlive this object.
  GroupHealth(Rank own_rank, const ControlPage* page, const kernels::FailureRecord* failure)
      : own_rank_(own_rank), page_(page), failure_(failure) {}

  // Aborted: the group has failed; the message has the cause. FailedPrecondition: another rank has
  // left.
  absl::Status Check() const {
    if (Load(page_->stop) == 0 && Load(page_->left_mask) == 0 && Load(failure_->state) == 0) {
      return absl::OkStatus();
    }
    return Explain();
  }

  // What this rank's kernels found out by themselves and nobody else can know: that a peer did not
  // come in time or calls something else, or that this rank had two calls at the same time.
  std::optional<std::string> OwnFinding() const;

 private:
  // Written by another process or by the GPU.
  static uint32_t Load(const uint32_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }

  absl::Status Explain() const;
  absl::Status ExplainStop() const;
  std::string ExplainMismatch() const;
  // Which call the failure record is about.
  std::string CallName() const;

  Rank own_rank_;
  const ControlPage* page_;
  const kernels::FailureRecord* failure_;
};

}  // namespace nodecomm::client
