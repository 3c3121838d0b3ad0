#include "daemon/session/session_table.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_format.h"

namespace nodecomm {

void SessionTable::Add(uint64_t connection, const Caller& caller, const Token& token) {
  absl::MutexLock lock(&mu_);
  Entry& entry = entries_[caller.session.value];
  entry.connection = connection;
  entry.caller = caller;
  entry.since = SteadyNow();
  entry.token = token;
}

std::vector<SessionTable::Session> SessionTable::List() const {
  std::vector<Session> sessions;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [id, entry] : entries_) sessions.push_back({entry.caller, entry.since});
  }
  std::sort(sessions.begin(), sessions.end(), [](const Session& a, const Session& b) {
    return std::tie(a.since, a.caller.session) < std::tie(b.since, b.caller.session);
  });
  return sessions;
}

bool SessionTable::Remove(SessionId session) {
  Entry removed;  // its fds are closed after the lock is released
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(session.value);
  if (it == entries_.end()) return false;
  removed = std::move(it->second);
  for (const Transfer& transfer : removed.waiting) Uncount(removed, transfer.fds.size());
  entries_.erase(it);
  return true;
}

uint64_t SessionTable::Queue(SessionId session, std::vector<UniqueFd> fds) {
  // Declared before the lock, so that fds which are not queued are closed after it is released.
  Transfer transfer = {.id = 0, .fds = std::move(fds)};
  absl::MutexLock lock(&mu_);
  transfer.id = ++last_transfer_;
  const uint64_t id = transfer.id;
  const auto it = entries_.find(session.value);
  if (it == entries_.end() || !it->second.overflow.ok()) return id;
  Entry& entry = it->second;
  const auto queued = fds_queued_by_uid_.find(entry.caller.uid);
  const size_t fds_before = queued == fds_queued_by_uid_.end() ? 0 : queued->second;
  const size_t fds_after = fds_before + transfer.fds.size();
  const size_t all_after = fds_queued_ + transfer.fds.size();
  if (entry.waiting.size() < kTransfersQueuedMax && fds_after <= kFdsQueuedPerUidMax &&
      all_after <= fds_queued_max_) {
    fds_queued_ = all_after;
    if (fds_after > 0) fds_queued_by_uid_[entry.caller.uid] = fds_after;
    entry.waiting.push_back(std::move(transfer));
  } else {
    entry.overflow = absl::ResourceExhaustedError(absl::StrFormat(
        "process %d does not take the file descriptors sent to it (is it stopped?): %d more would "
        "wait beside %d transfers for it, of at most %d, with %d descriptors for all processes of "
        "its user, of at most %d, and %d for all processes, of at most %d",
        entry.caller.pid, transfer.fds.size(), entry.waiting.size(), kTransfersQueuedMax,
        fds_before, kFdsQueuedPerUidMax, fds_queued_, fds_queued_max_));
  }
  news_.push_back(entry.connection);
  return id;
}

std::vector<uint64_t> SessionTable::TakeConnectionsWithNews() {
  absl::MutexLock lock(&mu_);
  return std::exchange(news_, {});
}

std::optional<Transfer> SessionTable::Next(SessionId session) {
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(session.value);
  if (it == entries_.end() || it->second.waiting.empty()) return std::nullopt;
  std::optional<Transfer> next = std::move(it->second.waiting.front());
  it->second.waiting.pop_front();
  Uncount(it->second, next->fds.size());
  return next;
}

void SessionTable::Uncount(const Entry& entry, size_t fds) {
  if (fds == 0) return;
  fds_queued_ -= fds;
  const auto queued = fds_queued_by_uid_.find(entry.caller.uid);
  queued->second -= fds;
  if (queued->second == 0) fds_queued_by_uid_.erase(queued);
}

absl::Status SessionTable::CheckQueue(SessionId session) const {
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(session.value);
  return it == entries_.end() ? absl::OkStatus() : it->second.overflow;
}

std::optional<Caller> SessionTable::FindByToken(std::string_view token) const {
  absl::MutexLock lock(&mu_);
  // Every token is compared in full, whether or not one matched before: no map keyed by the token,
  // whose lookup time would depend on how much of a guess is right. 1024 sessions take a few
  // microseconds.
  const Caller* found = nullptr;
  for (const auto& [id, entry] : entries_) {
    if (EqualInConstantTime(entry.token, token)) found = &entry.caller;
  }
  if (found == nullptr) return std::nullopt;
  return *found;
}

std::optional<uint64_t> SessionTable::ConnectionOf(SessionId session) const {
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(session.value);
  if (it == entries_.end()) return std::nullopt;
  return it->second.connection;
}

std::vector<SessionId> SessionTable::Sessions() const {
  absl::MutexLock lock(&mu_);
  std::vector<SessionId> sessions;
  for (const auto& [id, entry] : entries_) sessions.push_back({id});
  return sessions;
}

int SessionTable::size() const {
  absl::MutexLock lock(&mu_);
  return static_cast<int>(entries_.size());
}

}  // namespace nodecomm
