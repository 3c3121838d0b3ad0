// What becomes of calls, for those who count and log it. No gRPC here.
// Design note: daemon/service/README.md.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace nodecomm {

struct CallEnded {
  std::string service;  // "nodecomm.v1.Control"; only services that are registered
  std::string method;
  absl::StatusCode code = absl::StatusCode::kOk;
  // Streams have none: they last as long as their client likes.
  std::optional<absl::Duration> duration;
};

// A call on control.sock that does not prove whose it is.
enum class AuthFailure {
  kNoToken,       // none, several, or of the wrong form
  kUnknownToken,  // of no open session
  kForeignToken,  // of another process or user: it was stolen, or inherited by fork
};
inline constexpr std::array kAuthFailures = {AuthFailure::kNoToken, AuthFailure::kUnknownToken,
                                             AuthFailure::kForeignToken};

constexpr std::string_view Word(AuthFailure failure) {
  switch (failure) {
    case AuthFailure::kNoToken:
      return "no_token";
    case AuthFailure::kUnknownToken:
      return "unknown_token";
    case AuthFailure::kForeignToken:
      return "foreign_token";
  }
  return "unknown";
}

}  // namespace nodecomm
