// The shared buffers of one group: the rendezvous for each, and what they hold until every rank has
// freed it. Not the allocation itself, which happens without the registry's lock. Design note:
// daemon/group/README.md.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "daemon/group/after_unlock.h"
#include "daemon/group/group_registry.h"
#include "nodecomm/v1/state.pb.h"

namespace nodecomm {

inline constexpr size_t kSharedBuffersMax = 64;

// One thread at a time: the registry's lock guards it.
class SharedBuffers {
 public:
  SharedBuffers(std::string group_label, WorldSize world_size)
      : group_label_(std::move(group_label)), world_size_(world_size) {}

  struct Ask {
    Rank rank;
    uint64_t sequence = 0;
    ByteCount bytes;
    absl::Duration timeout;
    SteadyTime deadline;
    GroupRegistry::SharedDone done;
  };
  enum class Rendezvous { kWaiting, kComplete };
  // kComplete: this was the last rank that was missing; the caller sees to the memory and calls
  // Complete or Fail.
  Rendezvous Add(Ask ask, AfterUnlock& after);

  // 0: no rank has completed this rendezvous, or it has failed meanwhile.
  ByteCount BytesToAllocate(uint64_t sequence) const;
  // The callbacks of all ranks, in rank order; empty if the rendezvous has failed meanwhile, and
  // `leases` is then untouched.
  std::vector<GroupRegistry::SharedDone> Complete(uint64_t sequence,
                                                  std::vector<PlaneLease>& leases);
  void Fail(uint64_t sequence, const absl::Status& status, AfterUnlock& after);

  absl::Status Free(Rank rank, uint64_t sequence, AfterUnlock& after);

  // Answers everybody who still waits.
  void FailWaiting(const absl::Status& status, AfterUnlock& after);
  // The rank holds nothing any more.
  void FreeAll(Rank rank, AfterUnlock& after);

  SteadyTime NextDeadline() const;
  void Expire(SteadyTime now, AfterUnlock& after);

  // What they hold on each GPU of the group.
  ByteCount bytes() const;
  // The daemon's descriptors that they take.
  size_t OpenFds() const;

  // Those that are held, for the group's record; and back.
  void AddTo(v1::GroupRecord& record) const;
  void Restore(const v1::SharedBufferRecord& record, std::vector<PlaneLease> leases);

 private:
  enum class State { kWaiting, kAllocating, kHeld };
  struct Buffer {
    State state = State::kWaiting;
    std::map<Rank, Ask> asks;  // answered once it is held
    std::vector<PlaneLease> leases;
    std::vector<bool> held_by;  // by rank
  };
  using Buffers = std::map<uint64_t, Buffer>;

  absl::Status CheckAsk(const Ask& ask) const;
  absl::Status TooMany(Rank asking) const;
  absl::Status TimeoutStatus(uint64_t sequence, const Buffer& buffer, absl::Duration timeout) const;
  Buffers::iterator FailOne(Buffers::iterator buffer, const absl::Status& status,
                            AfterUnlock& after);
  Buffers::iterator FreeOne(Buffers::iterator buffer, Rank rank, AfterUnlock& after);

  const std::string group_label_;
  const WorldSize world_size_;
  Buffers buffers_;  // by sequence
};

}  // namespace nodecomm
