#include "client/communicator/shared_buffer.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"

namespace nodecomm::client {

absl::StatusOr<SharedBuffer::Owner> SharedBuffer::Allocate(std::shared_ptr<Membership> membership,
                                                           Device& device, ByteCount bytes) {
  ABSL_ASSIGN_OR_RETURN(SharedGrant grant, membership->AllocateShared(bytes));
  // From here on the buffer frees this rank's share, whatever happens.
  const int members = membership->group().members_size();
  Owner buffer(new SharedBuffer(std::move(membership), bytes, grant.sequence));
  if (grant.fds.size() != static_cast<size_t>(members)) {
    return absl::InternalError(
        absl::StrFormat("the daemon sent %d file descriptors for a shared buffer of %d ranks",
                        grant.fds.size(), members));
  }
  for (UniqueFd& fd : grant.fds) {
    ABSL_ASSIGN_OR_RETURN(Mapping mapping, device.MapPlane(std::move(fd), grant.bytes));
    buffer->mappings_.push_back(std::move(mapping));
  }
  return buffer;
}

SharedBuffer::SharedBuffer(std::shared_ptr<Membership> membership, ByteCount bytes,
                           uint64_t sequence)
    : membership_(std::move(membership)), bytes_(bytes), sequence_(sequence) {}

void SharedBuffer::Disposer::operator()(SharedBuffer* buffer) const {
  if (buffer->stamp_.InSameProcess()) delete buffer;
}

SharedBuffer::~SharedBuffer() {
  mappings_.clear();
  // The group may be over; then there is no account to correct.
  membership_->FreeShared(sequence_).IgnoreError();
}

std::byte* SharedBuffer::pointer(Rank rank) const {
  if (rank.value < 0 || static_cast<size_t>(rank.value) >= mappings_.size()) return nullptr;
  return mappings_[rank.value].data();
}

}  // namespace nodecomm::client
