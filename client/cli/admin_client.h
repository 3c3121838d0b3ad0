// Asks the daemon on admin.sock, one question at a time.
// Not for workers: they speak over session.sock and control.sock. No gRPC in this header.
// Design note: client/cli/README.md.
#pragma once

#include <sys/un.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

// Of the daemon's own sockets this has the longest path, so no daemon serves a longer directory.
inline constexpr std::string_view kAdminSocketName = "/admin/admin.sock";
inline constexpr size_t kSocketPathBytesMax = sizeof(sockaddr_un::sun_path) - 1;
inline constexpr size_t kRuntimeDirBytesMax = kSocketPathBytesMax - kAdminSocketName.size();

inline constexpr absl::Duration kAdminCallTimeout = absl::Seconds(5);

// One thread. Errors say what to do about them; none is worth a retry within one command.
class AdminClient {
 public:
  // Connects to <runtime_dir>/admin/admin.sock without waiting. Unavailable: no daemon there;
  // PermissionDenied: not allowed to ask it; InvalidArgument: the path is no socket's;
  // ResourceExhausted: the process may have too few threads or files for it. Every call is bounded
  // by `call_timeout`.
  static absl::StatusOr<std::unique_ptr<AdminClient>> Connect(
      const std::string& runtime_dir, absl::Duration call_timeout = kAdminCallTimeout);
  virtual ~AdminClient() = default;

  virtual absl::StatusOr<v1::GetStatusResponse> GetStatus() = 0;
  virtual absl::StatusOr<v1::GetTopologyResponse> GetTopology() = 0;
  virtual absl::StatusOr<v1::ListGroupsResponse> ListGroups() = 0;
  virtual absl::StatusOr<v1::ListPoolsResponse> ListPools() = 0;
  virtual absl::StatusOr<v1::ListSessionsResponse> ListSessions() = 0;
  virtual absl::StatusOr<v1::GetConfigResponse> GetConfig() = 0;
  virtual absl::StatusOr<v1::CheckPeersResponse> CheckPeers(
      const v1::CheckPeersRequest& request) = 0;
  virtual absl::StatusOr<v1::ExplainFastPathResponse> ExplainFastPath(
      const v1::ExplainFastPathRequest& request) = 0;
  virtual absl::StatusOr<v1::AdminAbortGroupResponse> AbortGroup(
      const v1::AdminAbortGroupRequest& request) = 0;
  virtual absl::StatusOr<v1::DrainGpuResponse> DrainGpu(const v1::DrainGpuRequest& request) = 0;
  virtual absl::StatusOr<v1::UndrainGpuResponse> UndrainGpu(
      const v1::UndrainGpuRequest& request) = 0;
};

// What a failed connect(2) to the daemon's socket means; `lock_holder`: the process that serves the
// directory nevertheless. Apart, since some of its cases cannot be provoked by a test that runs as
// root.
absl::Status DescribeConnectError(const std::string& runtime_dir, const std::string& socket_path,
                                  int error_number, std::optional<int> lock_holder);

}  // namespace nodecomm
