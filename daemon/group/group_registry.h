// All groups of this host: their rendezvous, their memory, their end.
// Not gRPC and not sockets: callers are named by (session, uid, pid), answers go to callbacks, fds
// to an FdCourier. Design note: daemon/README.md, "life of a group".
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "daemon/group/fd_courier.h"
#include "daemon/group/group_news.h"
#include "daemon/memory/plane_pool.h"
#include "daemon/topology/admission.h"
#include "nodecomm/v1/admin.pb.h"
#include "nodecomm/v1/control.pb.h"

namespace nodecomm {

struct Caller {
  SessionId session;
  uid_t uid = 0;
  pid_t pid = 0;
};

// Thread-safe. Callbacks are called exactly once, on any thread, with no lock held; they must not
// block.
class GroupRegistry {
 public:
  // What may be changed while the daemon runs.
  struct Limits {
    absl::Duration rendezvous_timeout_default;
    int groups_max = 256;
    int groups_per_uid_max = 64;
    ByteCount bytes_per_gpu_per_uid_max = 2048_MiB;
  };
  // Told what becomes of groups; as the other callbacks, but once for each piece of news.
  using Observer = std::function<void(const GroupNews&)>;
  struct Options {
    // Exists; control pages and records of groups are kept in it, 0600. Groups that an earlier
    // daemon left there are taken over. Empty, for tests: pages are in memory, and no record is
    // kept.
    std::string groups_dir;
    // The sessions that an earlier daemon left and whose processes live. Members of any other have
    // ended, for the reason in `lost_sessions` where there is one.
    std::vector<SessionId> sessions;
    std::map<SessionId, std::string> lost_sessions;
    ByteCount plane_bytes_default;
    Limits limits;
    // Whether groups may form from the start, or ranks that have joined wait until StartForming.
    enum class Forming { kAtOnce, kLater };
    Forming forming = Forming::kAtOnce;
    // Whose threads make memory and watch deadlines; the caller's do in RunDue, where a test wants
    // the same order every time.
    enum class Threads { kOwn, kCallers };
    Threads threads = Threads::kOwn;
    // How long a group may take from the answers to its joins until all ranks have confirmed: as
    // long as its ranks would have waited for each other to join, within these bounds.
    absl::Duration mapping_timeout_min = absl::Seconds(5);
    absl::Duration mapping_timeout_max = absl::Seconds(30);
    Observer observer = nullptr;
    // Told of files that an earlier daemon left and nobody can go on with, and of files that were
    // removed; as `observer`.
    std::function<void(const GroupDamage&)> damaged = [](const GroupDamage&) {};
  };
  using JoinDone = absl::AnyInvocable<void(absl::StatusOr<v1::JoinGroupResponse>)>;
  using ConfirmDone = absl::AnyInvocable<void(absl::Status)>;
  using SharedDone = absl::AnyInvocable<void(absl::StatusOr<v1::AllocateSharedResponse>)>;

  // Who is asked what. All outlive the registry.
  struct Parts {
    const Admission* admission = nullptr;
    PlanePool* pool = nullptr;
    FdCourier* courier = nullptr;
  };
  static absl::StatusOr<std::unique_ptr<GroupRegistry>> Create(Options options, Parts parts);
  virtual ~GroupRegistry() = default;

  virtual void Join(const Caller& caller, const v1::JoinGroupRequest& request, JoinDone done) = 0;
  virtual void Confirm(const Caller& caller, const v1::ConfirmGroupRequest& request,
                       ConfirmDone done) = 0;
  virtual void AllocateShared(const Caller& caller, const v1::AllocateSharedRequest& request,
                              SharedDone done) = 0;
  virtual absl::Status FreeShared(const Caller& caller, const v1::FreeSharedRequest& request) = 0;
  virtual absl::Status Leave(const Caller& caller, const v1::LeaveGroupRequest& request) = 0;
  virtual absl::Status Abort(const Caller& caller, const v1::AbortGroupRequest& request) = 0;

  // The caller does not have the answer to its join of this attempt, and never will: nobody is to
  // wait for it. Nothing happens if there is no such join, or its rank has confirmed.
  virtual void GiveUpJoin(const Caller& caller, uint64_t attempt, std::string_view cause) = 0;

  // The session's process is dead, but its memory is not free yet: groups that it had not left are
  // aborted at once, and what it held is kept until SessionEnded.
  virtual void SessionDied(SessionId session, std::string_view cause) = 0;

  // Whatever the session held is released; groups it had not left are aborted, with `cause`
  // ("process 123 has ended", say) as reason.
  virtual void SessionEnded(SessionId session, std::string_view cause) = 0;

  // The GPU is of no more use: groups with a rank on it are over.
  virtual void GpuLost(std::string_view gpu_uuid, std::string_view cause) = 0;

  // Ends every group with a rank on the GPU, which is drained, for this reason.
  virtual void AbortOnGpu(std::string_view gpu_uuid, std::string_view reason) = 0;

  // By the administrator. NotFound: no such group.
  virtual absl::Status AbortByAdmin(uint64_t generation, std::string_view reason) = 0;

  // Groups whose ranks have all joined get their memory from now on. Their joins' deadlines hold
  // meanwhile, and groups that are there already are served.
  virtual void StartForming() = 0;
  // From now on no group comes to be: those that wait for ranks fail, those that are ready go on.
  virtual void StopForming(std::string_view reason) = 0;
  virtual void AbortAll(std::string_view reason) = 0;

  // For joins and requests from now on; groups that exceed the new limits stay.
  virtual void SetLimits(const Limits& limits) = 0;

  // Files of groups that somebody has removed are written again where they can be; `damaged` is
  // told of each once. To be called every few seconds while the directory itself is whole.
  virtual void LookAfterFiles() = 0;

  // Makes the memory that is waited for, then ends what is due at `now`. Only with
  // Threads::kCallers, by one thread at a time, and not from a callback.
  virtual void RunDue(SteadyTime now) = 0;

  virtual std::vector<v1::GroupInfo> List() const = 0;
};

}  // namespace nodecomm
