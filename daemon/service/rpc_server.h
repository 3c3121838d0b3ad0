// gRPC on connections that others accepted: Control for workers, Admin for administrators.
// Not the sockets (daemon/session) nor what the calls do (daemon/group). The only part of the
// daemon that includes gRPC, in its .cc. Design note: daemon/README.md, "calls".
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "client/base/unique_fd.h"
#include "daemon/service/daemon_view.h"
#include "daemon/session/peer.h"

namespace nodecomm {

// Thread-safe.
class RpcServer {
 public:
  static absl::StatusOr<std::unique_ptr<RpcServer>> Create(DaemonView view);
  virtual ~RpcServer() = default;

  // Serve a connection, non-blocking, until its peer closes it. Not while or after Shutdown(). A
  // token is good only in calls of the process that it was given to.
  virtual void AdoptControl(UniqueFd connection, const PeerCredentials& peer) = 0;
  virtual void AdoptAdmin(UniqueFd connection) = 0;

  // What gRPC's health service says of nodecomm.v1.Control; at first that it does not serve. The
  // server as a whole and nodecomm.v1.Admin serve as long as they answer.
  enum class Serving { kNo, kYes };
  virtual void SetServing(Serving serving) = 0;

  // Answers waiting calls with UNAVAILABLE, lets the others finish until `deadline`, then cuts the
  // connections. What the registry answers later goes nowhere. Idempotent; also at destruction.
  virtual void Shutdown(SteadyTime deadline) = 0;
};

}  // namespace nodecomm
