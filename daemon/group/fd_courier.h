// How groups hand fds to workers, without knowing of sockets.
// Implemented by the session server (daemon/session/session_server.h) and by a fake in
// tests/support.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "client/base/unique_fd.h"

namespace nodecomm {

// One worker process's connection. Never reused within a daemon's life.
struct SessionId {
  uint64_t value = 0;
  auto operator<=>(const SessionId&) const = default;
};

class FdCourier {
 public:
  virtual ~FdCourier() = default;

  // Queues the fds for the session, in order after earlier ones, and returns the transfer's id at
  // once. The courier owns the fds (duplicates, so that they live until sent) and closes them when
  // they are sent or the session ends. Thread-safe; never calls back.
  virtual uint64_t Send(SessionId session, std::vector<UniqueFd> fds) = 0;
};

}  // namespace nodecomm
