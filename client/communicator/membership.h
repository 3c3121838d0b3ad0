// This rank's membership of a group, as the daemon keeps it: what may be asked of the daemon in its
// name, each with its bound. Not the group's memory nor its kernels. Holds the link to the daemon
// open. Design note: client/README.md, "life of a communicator".
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/quantities.h"
#include "client/base/unique_fd.h"
#include "client/communicator/options.h"
#include "client/mapping/device.h"
#include "client/session/daemon_link.h"
#include "nodecomm/v1/control.pb.h"

namespace nodecomm::client {

struct SharedGrant {
  uint64_t sequence = 0;
  ByteCount bytes;            // what was granted, at least what was asked for
  std::vector<UniqueFd> fds;  // one a rank
};

// Thread-safe, except that AllocateShared must not overlap itself.
class Membership {
 public:
  // Waits for all ranks. As the daemon's errors say: ranks missing, ranks that disagree, no room.
  static absl::StatusOr<std::unique_ptr<Membership>> Join(std::shared_ptr<DaemonLink> link,
                                                          const CommunicatorOptions& options,
                                                          const DeviceFacts& facts);

  const v1::JoinGroupResponse& group() const { return group_; }

  // The planes in rank order, then the control page, or why they did not come; once.
  absl::StatusOr<std::vector<UniqueFd>> TakeGroupFds();

  // This rank has mapped everything; waits until all have.
  absl::Status Confirm();

  // Abort, Leave and FreeShared reach a daemon that is away when it is back.
  absl::Status Abort(const std::string& reason);

  // OK also where the group is gone already, since there is nothing left to leave, or the daemon is
  // away.
  absl::Status Leave(uint32_t last_epoch);

  // Waits until all ranks have asked. Where the answer may be lost, the group is aborted.
  absl::StatusOr<SharedGrant> AllocateShared(ByteCount bytes);

  absl::Status FreeShared(uint64_t sequence);

 private:
  Membership(std::shared_ptr<DaemonLink> link, Rank rank, absl::Duration rendezvous_timeout,
             v1::JoinGroupResponse group);

  absl::StatusOr<std::vector<UniqueFd>> TakeFds(uint64_t transfer_id);

  const std::shared_ptr<DaemonLink> link_;
  const Rank rank_;
  const absl::Duration rendezvous_timeout_;
  const v1::JoinGroupResponse group_;
  absl::StatusOr<std::vector<UniqueFd>> group_fds_;  // until they are taken
  uint64_t shared_sequence_ = 0;
};

}  // namespace nodecomm::client
