// What the two ends of a new session say to each other: version check, identity and secret of a
// session. Not the socket: messages in, messages out. Design note: daemon/README.md, "life of a
// session".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/group/fd_courier.h"
#include "nodecomm/v1/session.pb.h"

namespace nodecomm {

inline constexpr size_t kTokenBytes = 32;
using Token = std::array<char, kTokenBytes>;

struct SessionIdentity {
  SessionId id;  // never 0
  Token token;   // whoever knows it speaks for the session; never logged
};

// From the kernel's random numbers.
absl::StatusOr<SessionIdentity> NewSessionIdentity();

// Takes the same time whatever the two hold, so that nobody can find a token byte by byte.
bool EqualInConstantTime(const Token& token, std::string_view guess);

// This daemon's version.
v1::Version OwnVersion();

// OK: the worker speaks a version that this daemon serves (same major, at most one minor apart).
// FailedPrecondition: another version; the message is for the worker. InvalidArgument: `payload` is
// no SessionHello.
absl::StatusOr<v1::SessionHello> CheckHello(std::string_view payload);

// Payloads of the possible answers. The last two: as SessionWelcome has them.
std::string WelcomePayload(const SessionIdentity& identity, v1::Platform platform,
                           uint64_t last_transfer, absl::Duration rendezvous_timeout);
std::string RefusalPayload(std::string_view reason);
// To one who wants to go on with a session that there is not.
std::string UnknownSessionPayload();
// For a failure of the daemon's own: that of a limit which users fill is theirs.
std::string FailurePayload(const absl::Status& failure);

}  // namespace nodecomm
