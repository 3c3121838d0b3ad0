#include "client/communicator/membership.h"

#include <utility>

#include "client/base/status_macros.h"
#include "kernels/plane_layout.h"
#include "kernels/selection.h"

namespace nodecomm::client {
namespace {

// For calls that wait for nobody.
constexpr absl::Duration kCallTimeout = absl::Seconds(10);
// From the daemon's answer to the fds that it sent along.
constexpr absl::Duration kTransferTimeout = absl::Seconds(30);

// For a session whose daemon was restarted.
constexpr absl::Duration kReconnectTimeout = absl::Seconds(5);
// A call that waits for other ranks ends by the daemon's hand, with the names of the missing ones;
// only if the daemon hangs does the client's own bound, later by this much, end it.
constexpr absl::Duration kRendezvousMargin = absl::Seconds(10);
// Where the daemon's default applies, which the client does not know.
constexpr absl::Duration kRendezvousBoundDefault = absl::Minutes(10);

absl::Duration RendezvousBound(absl::Duration timeout) {
  return timeout == absl::ZeroDuration() ? kRendezvousBoundDefault : timeout + kRendezvousMargin;
}

v1::JoinGroupRequest MakeJoinRequest(const CommunicatorOptions& options, const DeviceFacts& facts) {
  v1::JoinGroupRequest request;
  request.set_name(options.name);
  request.set_key(options.key);
  request.set_world_size(options.world_size.value);
  request.set_rank(options.rank.value);
  request.set_gpu_uuid(facts.gpu_uuid);
  request.set_pci_bus_id(facts.pci_bus_id);
  request.set_plane_bytes(options.plane_bytes.value);
  request.set_plane_abi(kernels::kPlaneAbi);
  request.set_algorithm_table(kernels::kAlgorithmTableVersion);
  if (options.algorithm.has_value()) {
    request.set_algorithm_override(std::string(kernels::AlgorithmName(*options.algorithm)));
  }
  request.set_timeout_ms(absl::ToInt64Milliseconds(options.rendezvous_timeout));
  request.set_multiprocessors(facts.multiprocessors);
  request.set_compute_capability_major(facts.compute_capability_major);
  request.set_compute_capability_minor(facts.compute_capability_minor);
  request.set_checked(options.checked);
  return request;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Membership>> Membership::Join(std::shared_ptr<DaemonLink> link,
                                                             const CommunicatorOptions& options,
                                                             const DeviceFacts& facts) {
  ABSL_ASSIGN_OR_RETURN(v1::JoinGroupResponse group,
                        link->control().JoinGroup(MakeJoinRequest(options, facts),
                                                  RendezvousBound(options.rendezvous_timeout)));
  return std::unique_ptr<Membership>(
      new Membership(std::move(link), options.rank, options.rendezvous_timeout, std::move(group)));
}

Membership::Membership(std::shared_ptr<DaemonLink> link, Rank rank,
                       absl::Duration rendezvous_timeout, v1::JoinGroupResponse group)
    : link_(std::move(link)),
      rank_(rank),
      rendezvous_timeout_(rendezvous_timeout),
      group_(std::move(group)) {}

absl::StatusOr<std::vector<UniqueFd>> Membership::TakeFds(uint64_t transfer_id) {
  return link_->session().TakeTransfer(transfer_id, absl::Now() + kTransferTimeout);
}

absl::StatusOr<std::vector<UniqueFd>> Membership::TakeGroupFds() {
  return TakeFds(group_.transfer_id());
}

absl::Status Membership::Confirm() {
  v1::ConfirmGroupRequest request;
  request.set_generation(group_.generation());
  request.set_rank(rank_.value);
  return link_->control().ConfirmGroup(request, RendezvousBound(rendezvous_timeout_));
}

absl::Status Membership::Abort(const std::string& reason) {
  v1::AbortGroupRequest request;
  request.set_generation(group_.generation());
  request.set_rank(rank_.value);
  request.set_reason(reason);
  return link_->notices().Tell(
      [link = link_.get(), request](absl::Duration timeout) {
        return link->control().AbortGroup(request, timeout);
      },
      kCallTimeout);
}

absl::Status Membership::Leave(uint32_t last_epoch) {
  v1::LeaveGroupRequest request;
  request.set_generation(group_.generation());
  request.set_rank(rank_.value);
  request.set_last_epoch(last_epoch);
  const absl::Status left = link_->notices().Tell(
      [link = link_.get(), request](absl::Duration timeout) {
        return link->control().LeaveGroup(request, timeout);
      },
      kCallTimeout);
  const bool gone = absl::IsUnavailable(left) || absl::IsAborted(left) || absl::IsNotFound(left);
  return gone ? absl::OkStatus() : left;
}

absl::StatusOr<SharedGrant> Membership::AllocateShared(ByteCount bytes) {
  // Calls may reach a daemon that came back before the session does, and then this rank alone would
  // not get what is sent to all.
  ABSL_RETURN_IF_ERROR(link_->session().EnsureConnected(kReconnectTimeout));
  v1::AllocateSharedRequest request;
  request.set_generation(group_.generation());
  request.set_rank(rank_.value);
  request.set_bytes(bytes.value);
  request.set_sequence(shared_sequence_);
  request.set_timeout_ms(absl::ToInt64Milliseconds(rendezvous_timeout_));
  ABSL_ASSIGN_OR_RETURN(
      const v1::AllocateSharedResponse response,
      link_->control().AllocateShared(request, RendezvousBound(rendezvous_timeout_)));
  SharedGrant grant = {.sequence = shared_sequence_++, .bytes = {response.bytes()}, .fds = {}};
  absl::StatusOr<std::vector<UniqueFd>> fds = TakeFds(response.transfer_id());
  if (!fds.ok()) {
    // The others have theirs; this rank's share of the account ends here.
    FreeShared(grant.sequence).IgnoreError();
    return fds.status();
  }
  grant.fds = *std::move(fds);
  return grant;
}

absl::Status Membership::FreeShared(uint64_t sequence) {
  v1::FreeSharedRequest request;
  request.set_generation(group_.generation());
  request.set_rank(rank_.value);
  request.set_sequence(sequence);
  return link_->notices().Tell(
      [link = link_.get(), request](absl::Duration timeout) {
        return link->control().FreeShared(request, timeout);
      },
      kCallTimeout);
}

}  // namespace nodecomm::client
