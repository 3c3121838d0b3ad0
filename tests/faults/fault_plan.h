// What a test and the processes under its faults share: which call is to fail, the how-many-th of
// it, and how many there were. A file that both map; faulty_calls.cc is the other side. Design
// note: tests/faults/README.md.
#pragma once

#include <atomic>
#include <cstdint>

namespace nodecomm {

// Names the file with the plan.
inline constexpr char kFaultPlanVariable[] = "NODECOMM_FAULT_PLAN";

// A C library's function, or those uses of it that may fail where the others cannot.
enum class Call : uint32_t {
  kNone,
  kAccept,
  kConnect,
  kSocket,
  kSend,
  kReceive,
  kEpollAdd,
  kEpollWait,
  kPoll,
  kEvent,
  kPeerPidfd,
  kSyscall,  // pidfd_open, open_tree, mount_setattr
  kMemfd,
  kTruncate,
  kDuplicate,
  kSeal,
  kMap,  // shared memory of a file
  kOpen,
  kRead,
  kWrite,  // to a file
  kWriteAt,
  kRename,
  kThread,
  // gRPC's own.
  kRpcSend,
  kRpcReceive,
  kEnd,
};

// In place of an error number: the call succeeds with half of what it was to do, a message comes
// without its descriptors.
inline constexpr int32_t kHalf = -1;

// All zero: nothing fails. Whoever changes what is planned sets `call` to kNone first and to what
// it wants last.
struct FaultPlan {
  std::atomic<Call> call;
  std::atomic<int32_t> error;  // of errno, or kHalf
  std::atomic<int64_t> nth;    // the first is 0
  std::atomic<int64_t> fired;
  // Since somebody set them to 0.
  std::atomic<int64_t> counts[static_cast<uint32_t>(Call::kEnd)];
};
static_assert(std::atomic<int64_t>::is_always_lock_free && std::atomic<Call>::is_always_lock_free);

}  // namespace nodecomm
