// What a worker asks of the daemon on control.sock, in its session's name: one blocking call each,
// bounded in time. Not who may ask: the session's token (worker_session.h) says that. Its .cc is
// the folder's only file with gRPC inside. Design note: client/README.md, "session".
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nodecomm/v1/control.pb.h"

namespace nodecomm {

// Thread-safe. Every call takes the longest time that it may take; then DeadlineExceeded.
// Errors have the codes that nodecomm/v1/control.proto names; Unavailable: the daemon is gone.
class ControlClient {
 public:
  // Whether the process may have what gRPC takes at its first call: before the first client of all,
  // which takes it for good. ResourceExhausted: it may not.
  static absl::Status CheckRoom();

  // Connects at the first call. `token`: raw bytes, as the welcome has them.
  ControlClient(const std::string& runtime_dir, const std::string& token);
  ~ControlClient();
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;

  // Forgets the connection, which may wait a while before it tries a daemon that came back. The
  // next call makes another; calls under way keep the old one.
  void Reconnect();

  absl::StatusOr<v1::GetHostResponse> GetHost(absl::Duration timeout);
  absl::StatusOr<v1::JoinGroupResponse> JoinGroup(const v1::JoinGroupRequest& request,
                                                  absl::Duration timeout);
  absl::Status ConfirmGroup(const v1::ConfirmGroupRequest& request, absl::Duration timeout);
  absl::Status LeaveGroup(const v1::LeaveGroupRequest& request, absl::Duration timeout);
  absl::Status AbortGroup(const v1::AbortGroupRequest& request, absl::Duration timeout);
  absl::StatusOr<v1::AllocateSharedResponse> AllocateShared(
      const v1::AllocateSharedRequest& request, absl::Duration timeout);
  absl::Status FreeShared(const v1::FreeSharedRequest& request, absl::Duration timeout);

 private:
  struct Channel;
  std::unique_ptr<Channel> channel_;
};

}  // namespace nodecomm
