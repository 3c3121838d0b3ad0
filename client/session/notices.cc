#include "client/session/notices.h"

#include <utility>

namespace nodecomm {
namespace {

bool Undelivered(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsResourceExhausted(status);
}

}  // namespace

void Notices::Keep(Notice notice) {
  const absl::MutexLock lock(&mutex_);
  if (kept_.size() < kKeptMax) kept_.push_back(std::move(notice));
}

absl::Status Notices::Tell(Notice notice, absl::Duration timeout) {
  TellKept(timeout);
  {
    const absl::MutexLock lock(&mutex_);
    if (!kept_.empty()) {
      // After those that came before it.
      if (kept_.size() < kKeptMax) kept_.push_back(std::move(notice));
      return absl::UnavailableError("nodecommd is away; it will be told when it is back");
    }
  }
  absl::Status told = notice(timeout);
  // Perhaps the connection alone was lost, and the daemon never comes back, since it is there. One
  // that is away costs no time.
  if (absl::IsUnavailable(told)) told = notice(timeout);
  if (Undelivered(told)) Keep(std::move(notice));
  return told;
}

void Notices::TellKept(absl::Duration timeout) {
  {
    const absl::MutexLock lock(&mutex_);
    if (telling_ || kept_.empty()) return;
    telling_ = true;
  }
  while (true) {
    Notice next;
    {
      const absl::MutexLock lock(&mutex_);
      if (kept_.empty()) {
        telling_ = false;
        return;
      }
      next = kept_.front();
    }
    // It stays the first while it is told, so that later ones queue behind it.
    const absl::Status told = next(timeout);
    const absl::MutexLock lock(&mutex_);
    if (Undelivered(told)) {
      telling_ = false;
      return;
    }
    kept_.pop_front();
  }
}

}  // namespace nodecomm
