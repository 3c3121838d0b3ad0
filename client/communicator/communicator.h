// A rank's handle on a ready group: what the C API offers, in our own types.
// Not the public C++ API (nodecomm.hpp, a header over the C API); c_api.cc alone uses this.
// Design note: client/README.md, "life of a communicator".
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/base/quantities.h"
#include "client/communicator/group_health.h"
#include "client/communicator/membership.h"
#include "client/communicator/options.h"
#include "client/communicator/shared_buffer.h"
#include "client/mapping/device.h"
#include "client/session/process_stamp.h"
#include "kernels/all_reduce.h"
#include "nodecomm/v1/session.pb.h"

namespace nodecomm::client {

// What is known of a communicator for people and for callers that choose by it.
struct CommunicatorInfo {
  Rank rank;
  WorldSize world_size;
  DeviceIndex device;
  v1::Platform platform = v1::PLATFORM_UNSPECIFIED;  // unspecified: none was asked for
  ByteCount plane_bytes;
  uint64_t generation = 0;
  std::string gpu_uuid;
};

// Calls must not overlap, except Status, Abort, WhyUnsupported, Algorithm and info; two threads in
// AllReduce are noticed. In a forked child every call fails.
class Communicator {
 public:
  // Leaves, if that was not done, and unmaps; where a graph is being captured on the GPU, nothing
  // can be waited for: it aborts, and leaks what kernels may still use. In a forked child, leaks
  // everything: the group is the parent's, and CUDA does not work there.
  struct Disposer {
    void operator()(Communicator* communicator) const;
  };
  using Owner = std::unique_ptr<Communicator, Disposer>;

  // Joins, maps, and waits for all ranks, twice. If it fails after the join the group is aborted,
  // so that nobody waits.
  static absl::StatusOr<Owner> Create(const CommunicatorOptions& options);

  absl::Status AllReduce(const kernels::Message& message, void* stream);

  // Empty: served. Otherwise the reason; lives as long as the communicator.
  const char* WhyUnsupported(ByteCount message, kernels::ElementType type) const;

  // Nothing where no message is served.
  std::optional<kernels::Algorithm> Algorithm(ByteCount message, kernels::ElementType type) const;

  const CommunicatorInfo& info() const { return info_; }

  absl::Status Status();
  absl::Status Abort(std::string_view reason);
  absl::Status Leave();
  absl::StatusOr<SharedBuffer::Owner> AllocateShared(ByteCount bytes);

 private:
  explicit Communicator(const CommunicatorOptions& options);
  ~Communicator();

  absl::Status FormGroup(const CommunicatorOptions& options);
  absl::Status OpenDevice(DaemonLink& link);
  absl::Status MakeReady(const CommunicatorOptions& options);
  absl::Status MapGroup(std::vector<UniqueFd> fds);
  absl::Status CheckFresh();
  void FillBinding(const CommunicatorOptions& options);
  absl::Status AllReduceAlone(const kernels::Message& message, void* stream);
  absl::Status CheckSupported() const;
  absl::Status CheckMessage(const kernels::Message& message) const;
  absl::StatusOr<uint32_t> ReadLastEpoch();
  void LeakMappings();

  const ProcessStamp stamp_;
  CommunicatorInfo info_;
  // Not empty: all-reduce is not served, for this reason.
  std::string unsupported_;

  // Null: no daemon was asked, for the environment disables it or the ranks are too many.
  std::unique_ptr<Device> device_;
  std::shared_ptr<Membership> membership_;  // shared with its shared buffers
  // The rest is set once the group is mapped, and kept as it is.
  std::vector<Mapping> planes_;  // in rank order
  ControlPageView control_page_;
  std::optional<GroupHealth> health_;
  kernels::Binding binding_;

  bool ready_ = false;  // the group was formed: kernels of this rank may have been launched
  std::atomic<bool> left_ = false;
  std::atomic<bool> aborted_ = false;           // by this rank
  std::atomic<bool> finding_reported_ = false;  // to the daemon
  std::atomic<bool> calling_ = false;           // a thread is in AllReduce
};

}  // namespace nodecomm::client
