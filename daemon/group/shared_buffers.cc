#include "daemon/group/shared_buffers.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "daemon/group/group_memory.h"
#include "daemon/group/text.h"

namespace nodecomm {

absl::Status SharedBuffers::CheckAsk(const Ask& ask) const {
  if (ask.bytes.value == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("rank %d asks for a shared buffer of 0 bytes", ask.rank.value));
  }
  const auto found = buffers_.find(ask.sequence);
  if (found == buffers_.end()) {
    if (buffers_.size() < kSharedBuffersMax) return absl::OkStatus();
    return TooMany(ask.rank);
  }
  const Buffer& buffer = found->second;
  if (buffer.state == State::kHeld || buffer.asks.contains(ask.rank)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("rank %d has asked for shared buffer %d of %s already", ask.rank.value,
                        ask.sequence, group_label_));
  }
  return absl::OkStatus();
}

absl::Status SharedBuffers::TooMany(Rank asking) const {
  const auto of_asking = std::count_if(buffers_.begin(), buffers_.end(), [&](const auto& entry) {
    const Buffer& buffer = entry.second;
    return buffer.asks.contains(asking) ||
           (buffer.state == State::kHeld && buffer.held_by[static_cast<size_t>(asking.value)]);
  });
  return absl::ResourceExhaustedError(absl::StrFormat(
      "%s has %d shared buffers already, of at most %d, and rank %d holds or waits for %d of them; "
      "free some",
      group_label_, buffers_.size(), kSharedBuffersMax, asking.value, of_asking));
}

SharedBuffers::Rendezvous SharedBuffers::Add(Ask ask, AfterUnlock& after) {
  if (absl::Status status = CheckAsk(ask); !status.ok()) {
    after.Call([done = std::move(ask.done), status]() mutable { done(status); });
    return Rendezvous::kWaiting;
  }
  const auto [entry, is_new] = buffers_.try_emplace(ask.sequence);
  Buffer& buffer = entry->second;
  absl::Status disagreement;
  if (!is_new) {
    const Ask& there = buffer.asks.begin()->second;
    if (there.bytes != ask.bytes) {
      disagreement = absl::FailedPreconditionError(
          absl::StrFormat("the ranks of %s disagree on the bytes of shared buffer %d: rank %d "
                          "says %d, rank %d says %d",
                          group_label_, ask.sequence, there.rank.value, there.bytes.value,
                          ask.rank.value, ask.bytes.value));
    }
  }
  const Rank rank = ask.rank;
  buffer.asks.emplace(rank, std::move(ask));
  if (!disagreement.ok()) {
    FailOne(entry, disagreement, after);
    return Rendezvous::kWaiting;
  }
  if (static_cast<int>(buffer.asks.size()) < world_size_.value) return Rendezvous::kWaiting;
  buffer.state = State::kAllocating;
  return Rendezvous::kComplete;
}

ByteCount SharedBuffers::BytesToAllocate(uint64_t sequence) const {
  const auto found = buffers_.find(sequence);
  if (found == buffers_.end() || found->second.state != State::kAllocating) return ByteCount{0};
  return found->second.asks.begin()->second.bytes;
}

std::vector<GroupRegistry::SharedDone> SharedBuffers::Complete(uint64_t sequence,
                                                               std::vector<PlaneLease>& leases) {
  std::vector<GroupRegistry::SharedDone> answers;
  const auto found = buffers_.find(sequence);
  if (found == buffers_.end() || found->second.state != State::kAllocating) return answers;
  Buffer& buffer = found->second;
  for (auto& [rank, ask] : buffer.asks) answers.push_back(std::move(ask.done));
  buffer.asks.clear();
  buffer.state = State::kHeld;
  buffer.leases = std::move(leases);
  buffer.held_by.assign(static_cast<size_t>(world_size_.value), true);
  return answers;
}

void SharedBuffers::Fail(uint64_t sequence, const absl::Status& status, AfterUnlock& after) {
  const auto found = buffers_.find(sequence);
  if (found != buffers_.end() && found->second.state != State::kHeld) FailOne(found, status, after);
}

absl::Status SharedBuffers::Free(Rank rank, uint64_t sequence, AfterUnlock& after) {
  const auto found = buffers_.find(sequence);
  if (found == buffers_.end() || found->second.state != State::kHeld ||
      !found->second.held_by[static_cast<size_t>(rank.value)]) {
    return absl::NotFoundError(absl::StrFormat("rank %d holds no shared buffer %d of %s",
                                               rank.value, sequence, group_label_));
  }
  FreeOne(found, rank, after);
  return absl::OkStatus();
}

void SharedBuffers::FailWaiting(const absl::Status& status, AfterUnlock& after) {
  for (auto it = buffers_.begin(); it != buffers_.end();) {
    it = it->second.state == State::kHeld ? std::next(it) : FailOne(it, status, after);
  }
}

void SharedBuffers::FreeAll(Rank rank, AfterUnlock& after) {
  for (auto it = buffers_.begin(); it != buffers_.end();) {
    it = it->second.state == State::kHeld ? FreeOne(it, rank, after) : std::next(it);
  }
}

SteadyTime SharedBuffers::NextDeadline() const {
  SteadyTime next = SteadyTime::InfiniteFuture();
  for (const auto& [sequence, buffer] : buffers_) {
    if (buffer.state != State::kWaiting) continue;
    for (const auto& [rank, ask] : buffer.asks) next = std::min(next, ask.deadline);
  }
  return next;
}

void SharedBuffers::Expire(SteadyTime now, AfterUnlock& after) {
  for (auto it = buffers_.begin(); it != buffers_.end();) {
    const Buffer& buffer = it->second;
    const auto late = std::find_if(buffer.asks.begin(), buffer.asks.end(),
                                   [&](const auto& ask) { return ask.second.deadline <= now; });
    if (buffer.state != State::kWaiting || late == buffer.asks.end()) {
      ++it;
    } else {
      it = FailOne(it, TimeoutStatus(it->first, buffer, late->second.timeout), after);
    }
  }
}

absl::Status SharedBuffers::TimeoutStatus(uint64_t sequence, const Buffer& buffer,
                                          absl::Duration timeout) const {
  std::vector<Rank> missing;
  for (Rank rank{0}; rank.value < world_size_.value; ++rank.value) {
    if (!buffer.asks.contains(rank)) missing.push_back(rank);
  }
  return absl::DeadlineExceededError(absl::StrFormat(
      "%s of %d did not ask for shared buffer %d of %s within %s", RankList(missing),
      world_size_.value, sequence, group_label_, absl::FormatDuration(timeout)));
}

ByteCount SharedBuffers::bytes() const {
  ByteCount sum;
  for (const auto& [sequence, buffer] : buffers_) {
    if (!buffer.leases.empty()) sum.value += buffer.leases.front().bytes().value;
  }
  return sum;
}

size_t SharedBuffers::OpenFds() const {
  size_t sum = 0;
  for (const auto& [sequence, buffer] : buffers_) sum += CountFds(buffer.leases);
  return sum;
}

void SharedBuffers::AddTo(v1::GroupRecord& record) const {
  for (const auto& [sequence, buffer] : buffers_) {
    if (buffer.state != State::kHeld) continue;
    v1::SharedBufferRecord* held = record.add_shared();
    held->set_sequence(sequence);
    held->set_bytes(buffer.leases.front().bytes().value);
    uint32_t mask = 0;
    for (size_t rank = 0; rank < buffer.held_by.size(); ++rank) {
      if (buffer.held_by[rank]) mask |= 1u << rank;
    }
    held->set_held_by(mask);
  }
}

void SharedBuffers::Restore(const v1::SharedBufferRecord& record, std::vector<PlaneLease> leases) {
  Buffer& buffer = buffers_[record.sequence()];
  buffer.state = State::kHeld;
  buffer.leases = std::move(leases);
  for (int rank = 0; rank < world_size_.value; ++rank) {
    buffer.held_by.push_back((record.held_by() >> rank & 1u) != 0);
  }
}

SharedBuffers::Buffers::iterator SharedBuffers::FailOne(Buffers::iterator buffer,
                                                        const absl::Status& status,
                                                        AfterUnlock& after) {
  for (auto& [rank, ask] : buffer->second.asks) {
    after.Call([done = std::move(ask.done), status]() mutable { done(status); });
  }
  return buffers_.erase(buffer);
}

SharedBuffers::Buffers::iterator SharedBuffers::FreeOne(Buffers::iterator buffer, Rank rank,
                                                        AfterUnlock& after) {
  std::vector<bool>& held_by = buffer->second.held_by;
  held_by[static_cast<size_t>(rank.value)] = false;
  if (std::find(held_by.begin(), held_by.end(), true) != held_by.end()) return std::next(buffer);
  after.Destroy(std::move(buffer->second.leases));
  return buffers_.erase(buffer);
}

}  // namespace nodecomm
