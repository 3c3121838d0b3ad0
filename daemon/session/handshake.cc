#include "daemon/session/handshake.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "client/base/version.h"

namespace nodecomm {
namespace {

absl::Status FillRandom(void* data, size_t bytes) {
  ssize_t got;
  do {
    got = getrandom(data, bytes, 0);
  } while (got < 0 && errno == EINTR);
  // The kernel gives up to 256 bytes whole.
  if (got == static_cast<ssize_t>(bytes)) return absl::OkStatus();
  return absl::ErrnoToStatus(got < 0 ? errno : EIO, "getrandom");
}

std::string ToText(const v1::Version& version) {
  return absl::StrFormat("%d.%d.%d", version.major(), version.minor(), version.patch());
}

}  // namespace

absl::StatusOr<SessionIdentity> NewSessionIdentity() {
  SessionIdentity identity;
  // 64 random bits: within a daemon's life none is 0 or comes twice, but for bad luck that nobody
  // will see.
  ABSL_RETURN_IF_ERROR(FillRandom(&identity.id.value, sizeof(identity.id.value)));
  if (identity.id.value == 0) identity.id.value = 1;
  ABSL_RETURN_IF_ERROR(FillRandom(identity.token.data(), identity.token.size()));
  return identity;
}

bool EqualInConstantTime(const Token& token, std::string_view guess) {
  if (guess.size() != token.size()) return false;  // the length is no secret
  unsigned difference = 0;
  for (size_t i = 0; i < token.size(); ++i) {
    difference |= static_cast<unsigned char>(token[i]) ^ static_cast<unsigned char>(guess[i]);
  }
  return difference == 0;
}

v1::Version OwnVersion() {
  v1::Version version;
  version.set_major(kVersionMajor);
  version.set_minor(kVersionMinor);
  version.set_patch(kVersionPatch);
  return version;
}

absl::StatusOr<v1::SessionHello> CheckHello(std::string_view payload) {
  v1::SessionHello hello;
  if (!hello.ParseFromArray(payload.data(), static_cast<int>(payload.size())) ||
      !hello.has_version()) {
    return absl::InvalidArgumentError("the first frame holds no SessionHello with a version");
  }
  const v1::Version own = OwnVersion();
  const int64_t minor_apart = int64_t{hello.version().minor()} - own.minor();
  if (hello.version().major() == own.major() && std::abs(minor_apart) <= 1) {
    return hello;
  }
  return absl::FailedPreconditionError(absl::StrFormat(
      "libnodecomm %s cannot talk to nodecommd %s, which serves the same major version and at "
      "most one minor version apart: install matching versions of the two",
      ToText(hello.version()), ToText(own)));
}

std::string WelcomePayload(const SessionIdentity& identity, v1::Platform platform,
                           uint64_t last_transfer, absl::Duration rendezvous_timeout) {
  v1::SessionWelcome welcome;
  welcome.set_session_id(identity.id.value);
  welcome.set_token(identity.token.data(), identity.token.size());
  *welcome.mutable_version() = OwnVersion();
  welcome.set_platform(platform);
  welcome.set_last_transfer_id(last_transfer);
  welcome.set_rendezvous_timeout_ms(absl::ToInt64Milliseconds(rendezvous_timeout));
  return welcome.SerializeAsString();
}

std::string RefusalPayload(std::string_view reason) {
  v1::SessionRefusal refusal;
  refusal.set_reason(std::string(reason));
  *refusal.mutable_version() = OwnVersion();
  return refusal.SerializeAsString();
}

std::string FailurePayload(const absl::Status& failure) {
  v1::SessionRefusal refusal;
  refusal.set_reason(std::string(failure.message()));
  *refusal.mutable_version() = OwnVersion();
  refusal.set_daemon_failed(!absl::IsResourceExhausted(failure));
  return refusal.SerializeAsString();
}

std::string UnknownSessionPayload() {
  v1::SessionRefusal refusal;
  refusal.set_reason("no such session of this process: it ended, or the daemon stopped in order");
  *refusal.mutable_version() = OwnVersion();
  refusal.set_session_unknown(true);
  return refusal.SerializeAsString();
}

}  // namespace nodecomm
