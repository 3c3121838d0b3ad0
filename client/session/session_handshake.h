// The start of a session with the daemon: connecting to session.sock, hello and welcome. Not what
// comes afterwards: worker_session.h. Design note: client/README.md, "session".
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/unique_fd.h"
#include "nodecomm/v1/session.pb.h"

namespace nodecomm {

// Set as a payload on the status of a session that the daemon refused for its version.
inline constexpr char kUnsupportedVersionPayload[] = "nodecomm/unsupported-version";

struct OpenedSession {
  UniqueFd socket;
  v1::SessionWelcome welcome;
  UniqueFd liveness_page;      // invalid: the daemon sent none, or this process has no room for it
  bool expects_alive = false;  // the daemon sent one, and waits to hear that it has come
};

std::string SessionSocketPath(const std::string& runtime_dir);

// Unavailable: no daemon there, or it does not take connections within `timeout`; PermissionDenied.
absl::StatusOr<UniqueFd> ConnectSession(const std::string& runtime_dir, absl::Duration timeout);

// The session to go on with.
struct Resumption {
  const v1::SessionResume* session = nullptr;  // null: a new session
  int cancel =
      -1;  // a descriptor that ends the wait for the answer (Cancelled) when it is readable
};

// On a connected socket; `peer` names the other end in messages.
// Unavailable: it does not answer within `timeout`; FailedPrecondition with
// kUnsupportedVersionPayload: its version does not fit; ResourceExhausted: it takes no more
// workers; NotFound: it does not know the session to go on with.
absl::StatusOr<OpenedSession> ShakeHands(UniqueFd socket, const std::string& peer,
                                         absl::Duration timeout, const Resumption& resumption = {});

}  // namespace nodecomm
