// Which joins are right, alone and beside each other: pure functions.
// Not the rendezvous: who is told what, and when, is Group's and the registry's.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/quantities.h"
#include "nodecomm/v1/control.pb.h"
#include "nodecomm/v1/topology.pb.h"

namespace nodecomm {

inline constexpr size_t kGroupNameBytesMax = 128;
inline constexpr size_t kGroupKeyBytes = 16;
inline constexpr size_t kAlgorithmNameBytesMax = 64;
inline constexpr size_t kPciBusIdBytesMax = 32;
inline constexpr ByteCount kPlaneBytesUnit = 2_MiB;
inline constexpr absl::Duration kRendezvousTimeoutMax = absl::Hours(24);

// Whether several ranks of a group may be on one GPU.
enum class GpuSharing { kForbidden, kAllowed };

// The UUID by which the host knows the request's GPU. A MIG instance names itself by a UUID that
// the host does not list; its place on the PCI bus tells whose part it is. As it was, if neither
// does.
std::string ResolveGpu(const v1::JoinGroupRequest& request, const v1::Host& host);

// What concerns the caller alone. InvalidArgument: the request is wrong; FailedPrecondition: this
// host cannot hold such a group. `request` has its plane size already (0 was replaced by the
// default).
absl::Status CheckJoin(const v1::JoinGroupRequest& request, const v1::Host& host,
                       GpuSharing sharing);

// Whether two members of one group agree. FailedPrecondition: no, with both ranks and both values.
absl::Status CheckAgreement(const v1::JoinGroupRequest& there, const v1::JoinGroupRequest& newcomer,
                            GpuSharing sharing);

// 0: the default. InvalidArgument: negative or above kRendezvousTimeoutMax.
absl::StatusOr<absl::Duration> RendezvousTimeout(int64_t timeout_ms, absl::Duration default_value);

}  // namespace nodecomm
