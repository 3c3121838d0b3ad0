// One buffer a rank, all of them mapped here, for kernels of the caller's own.
// Not a plane: nodecomm's kernels never touch it.
// Design note: client/README.md, "life of a communicator".
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "client/base/quantities.h"
#include "client/communicator/membership.h"
#include "client/mapping/device.h"
#include "client/session/process_stamp.h"

namespace nodecomm::client {

class SharedBuffer {
 public:
  // Unmaps and tells the daemon; in a forked child, leaks: neither is the child's to do.
  struct Disposer {
    void operator()(SharedBuffer* buffer) const;
  };
  using Owner = std::unique_ptr<SharedBuffer, Disposer>;

  // Collective: waits until every rank has asked for the same size.
  static absl::StatusOr<Owner> Allocate(std::shared_ptr<Membership> membership, Device& device,
                                        ByteCount bytes);

  // Null: no such rank.
  std::byte* pointer(Rank rank) const;
  ByteCount bytes() const { return bytes_; }

 private:
  SharedBuffer(std::shared_ptr<Membership> membership, ByteCount bytes, uint64_t sequence);
  ~SharedBuffer();

  const ProcessStamp stamp_;
  const std::shared_ptr<Membership> membership_;
  const ByteCount bytes_;
  const uint64_t sequence_;
  std::vector<Mapping> mappings_;  // in rank order
};

}  // namespace nodecomm::client
