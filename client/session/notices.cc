#include "client/session/notices.h"

#include <algorithm>
#include <utility>

namespace nodecomm {

bool Notices::IsKept(const absl::Status& told) {
  return absl::IsUnavailable(told) || absl::IsDeadlineExceeded(told) ||
         absl::IsResourceExhausted(told);
}

void Notices::Keep(Notice notice) {
  if (kept_.size() < kKeptMax) kept_.push_back({.notice = std::move(notice)});
}

absl::Status Notices::Tell(Notice notice, absl::Duration timeout) {
  TellKeptFor(DaemonHangs() ? std::min(timeout, kHangingTimeout) : timeout);
  {
    const absl::MutexLock lock(&mutex_);
    if (!kept_.empty()) {
      Keep(std::move(notice));  // after those that came before it
      return absl::UnavailableError(
          hangs_ ? "nodecommd did not answer in time; it will be told later"
                 : "nodecommd is away, takes no more calls now, or is still being told what came "
                   "before; it will be told later");
    }
  }
  absl::Status told = notice(timeout);
  // Perhaps the connection alone was lost, and the daemon never comes back, since it is there. One
  // that is away costs no time.
  if (absl::IsUnavailable(told)) told = notice(timeout);
  if (!IsKept(told)) return told;
  {
    const absl::MutexLock lock(&mutex_);
    hangs_ = absl::IsDeadlineExceeded(told);
    Keep(std::move(notice));
  }
  retry_later_();
  return told;
}

bool Notices::DaemonHangs() const {
  const absl::MutexLock lock(&mutex_);
  return hangs_;
}

bool Notices::IsRefusedForGood(const absl::Status& told, Kept& kept) const {
  if (!absl::IsResourceExhausted(told)) return false;
  const SteadyTime now = SteadyNow();
  kept.refused_since = std::min(kept.refused_since, now);
  return now - kept.refused_since >= refused_max_;
}

void Notices::DaemonIsBack() {
  const absl::MutexLock lock(&mutex_);
  hangs_ = false;
  tell_timeout_ = kTellTimeoutMin;
}

void Notices::TellKept() {
  absl::Duration timeout;
  {
    const absl::MutexLock lock(&mutex_);
    timeout = tell_timeout_;
  }
  const std::optional<absl::Status> told = TellKeptFor(timeout);
  if (!told.has_value()) return;
  const absl::MutexLock lock(&mutex_);
  tell_timeout_ =
      absl::IsDeadlineExceeded(*told) ? std::min(2 * timeout, kTellTimeoutMax) : kTellTimeoutMin;
}

std::optional<absl::Status> Notices::TellKeptFor(absl::Duration timeout) {
  {
    const absl::MutexLock lock(&mutex_);
    if (telling_ || kept_.empty()) return std::nullopt;
    telling_ = true;
  }
  const SteadyTime deadline = SteadyNow() + timeout;
  absl::Status told;
  bool is_first = true;
  do {
    Notice next;
    {
      const absl::MutexLock lock(&mutex_);
      if (kept_.empty()) {
        telling_ = false;
        return told;
      }
      next = kept_.front().notice;
    }
    // It stays the first while it is told, so that later ones queue behind it.
    told = next(deadline - SteadyNow());
    const absl::MutexLock lock(&mutex_);
    // Later ones have less time: to meet that says nothing of the daemon.
    hangs_ = std::exchange(is_first, false) && absl::IsDeadlineExceeded(told);
    if (IsKept(told) && !IsRefusedForGood(told, kept_.front())) break;
    kept_.pop_front();
  } while (SteadyNow() < deadline);
  {
    const absl::MutexLock lock(&mutex_);
    telling_ = false;
  }
  retry_later_();
  return told;
}

}  // namespace nodecomm
