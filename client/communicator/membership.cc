#include "client/communicator/membership.h"

#include <algorithm>
#include <atomic>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"
#include "client/base/utf8.h"
#include "kernels/plane_layout.h"
#include "kernels/selection.h"

namespace nodecomm::client {
namespace {

// For calls that wait for nobody.
constexpr absl::Duration kCallTimeout = absl::Seconds(10);
// For one that follows a failed call, after which somebody waits for the error.
constexpr absl::Duration kGiveUpTimeout = absl::Seconds(2);
// From the daemon's answer to the fds that it sent along.
constexpr absl::Duration kTransferTimeout = absl::Seconds(30);

// For a session whose daemon was restarted.
constexpr absl::Duration kReconnectTimeout = absl::Seconds(5);
// A call that waits for other ranks ends by the daemon's hand, with the names of the missing ones;
// only if the daemon hangs does the client's own bound, later by this much, end it.
constexpr absl::Duration kRendezvousMargin = absl::Seconds(10);
// Where the daemon's default applies: a reload may have lengthened it since the daemon told it, and
// one of an earlier version does not tell it.
constexpr absl::Duration kRendezvousBoundMin = absl::Minutes(10);

absl::Duration RendezvousBound(absl::Duration timeout, const WorkerSession& session) {
  if (timeout != absl::ZeroDuration()) return timeout + kRendezvousMargin;
  return std::clamp(session.rendezvous_timeout() + kRendezvousMargin, kRendezvousBoundMin,
                    CommunicatorOptions::kTimeoutMax + kRendezvousMargin);
}

// As much of it as a control page holds, and far less than a message may have: what is too long or
// no UTF-8 would not be sent at all.
constexpr size_t kReasonBytesMax = 500;

std::string ReasonText(std::string_view reason) { return ToUtf8(reason, kReasonBytesMax); }

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
  // One process has one session with a daemon, or one after the other.
  static std::atomic<uint64_t> last_attempt{0};
  request.set_attempt(last_attempt.fetch_add(1, std::memory_order_relaxed) + 1);
  return request;
}

// Whether the daemon may have formed the group, or keep this rank's place in it, all the same.
bool MayHaveLostTheAnswer(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
      return false;  // said by the daemon, in as many words
    default:
      return true;
  }
}

// The same of a call that waited `waited` of the `bound` that this process gave it. The daemon's
// own word that ranks are missing comes earlier, and is the same for all. Unavailable may be its
// word too: one that stops answers whoever waits so, also where it has given others theirs.
bool MayHaveLostTheGrant(const absl::Status& status, absl::Duration waited, absl::Duration bound) {
  if (absl::IsDeadlineExceeded(status)) return waited > bound - kRendezvousMargin / 2;
  return absl::IsUnavailable(status);
}

void GiveUp(DaemonLink& link, uint64_t attempt, const absl::Status& status) {
  v1::AbortGroupRequest request;
  request.set_join_attempt(attempt);
  request.set_reason(
      ReasonText(absl::StrCat("did not get the answer to its join: ", status.message())));
  link.notices()
      .Tell([&link, request](
                absl::Duration timeout) { return link.control().AbortGroup(request, timeout); },
            kGiveUpTimeout)
      .IgnoreError();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Membership>> Membership::Join(std::shared_ptr<DaemonLink> link,
                                                             const CommunicatorOptions& options,
                                                             const DeviceFacts& facts) {
  const v1::JoinGroupRequest request = MakeJoinRequest(options, facts);
  const WorkerSession::Expectation expects_fds(link->session());
  absl::StatusOr<v1::JoinGroupResponse> group = link->control().JoinGroup(
      request, RendezvousBound(options.rendezvous_timeout, link->session()));
  if (!group.ok()) {
    // Or the others would wait for this rank, whose session may go on for other communicators.
    if (MayHaveLostTheAnswer(group.status())) GiveUp(*link, request.attempt(), group.status());
    return group.status();
  }
  std::unique_ptr<Membership> membership(
      new Membership(std::move(link), options.rank, options.rendezvous_timeout, *std::move(group)));
  membership->group_fds_ = membership->TakeFds(membership->group_.transfer_id());
  return membership;
}

Membership::Membership(std::shared_ptr<DaemonLink> link, Rank rank,
                       absl::Duration rendezvous_timeout, v1::JoinGroupResponse group)
    : link_(std::move(link)),
      rank_(rank),
      rendezvous_timeout_(rendezvous_timeout),
      group_(std::move(group)) {}

absl::StatusOr<std::vector<UniqueFd>> Membership::TakeFds(uint64_t transfer_id) {
  return link_->session().TakeTransfer(transfer_id, SteadyNow() + kTransferTimeout);
}

absl::StatusOr<std::vector<UniqueFd>> Membership::TakeGroupFds() { return std::move(group_fds_); }

absl::Status Membership::Confirm() {
  v1::ConfirmGroupRequest request;
  request.set_generation(group_.generation());
  request.set_rank(rank_.value);
  return link_->control().ConfirmGroup(request,
                                       RendezvousBound(rendezvous_timeout_, link_->session()));
}

absl::Status Membership::Abort(const std::string& reason) {
  v1::AbortGroupRequest request;
  request.set_generation(group_.generation());
  request.set_rank(rank_.value);
  request.set_reason(ReasonText(reason));
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
  const bool gone = absl::IsAborted(left) || absl::IsNotFound(left);
  return gone || Notices::IsKept(left) ? absl::OkStatus() : left;
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
  const WorkerSession::Expectation expects_fds(link_->session());
  const absl::Duration bound = RendezvousBound(rendezvous_timeout_, link_->session());
  const SteadyTime asked = SteadyNow();
  const absl::StatusOr<v1::AllocateSharedResponse> response =
      link_->control().AllocateShared(request, bound);
  if (!response.ok()) {
    // The others may have theirs and have counted it; then no later one would come about, and this
    // rank's share of this one would never be freed.
    if (MayHaveLostTheGrant(response.status(), SteadyNow() - asked, bound)) {
      Abort(absl::StrFormat("rank %d did not get the answer about a shared buffer: %s", rank_.value,
                            response.status().message()))
          .IgnoreError();
    }
    return response.status();
  }
  SharedGrant grant = {.sequence = shared_sequence_++, .bytes = {response->bytes()}, .fds = {}};
  absl::StatusOr<std::vector<UniqueFd>> fds = TakeFds(response->transfer_id());
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
