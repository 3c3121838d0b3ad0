// The two macros of Abseil's status_macros.h, which Debian 12's Abseil does not have yet; same
// spelling, so that this file can be deleted one day. No logging, no message building: use
// StatusBuilder-free plain returns.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define NODECOMM_MACRO_CONCAT_INNER(a, b) a##b
#define NODECOMM_MACRO_CONCAT(a, b) NODECOMM_MACRO_CONCAT_INNER(a, b)

// Returns from the function if `expr`, an absl::Status, is not OK.
#define ABSL_RETURN_IF_ERROR(expr)                                 \
  do {                                                             \
    if (absl::Status status_ = (expr); !status_.ok()) [[unlikely]] \
      return status_;                                              \
  } while (false)

// Evaluates `expr`, an absl::StatusOr; returns its status from the function, or assigns its value
// to `lhs`.
#define ABSL_ASSIGN_OR_RETURN(lhs, expr) \
  NODECOMM_ASSIGN_OR_RETURN_INNER(NODECOMM_MACRO_CONCAT(statusor_, __LINE__), lhs, expr)
#define NODECOMM_ASSIGN_OR_RETURN_INNER(statusor, lhs, expr) \
  auto statusor = (expr);                                    \
  if (!statusor.ok()) [[unlikely]]                           \
    return std::move(statusor).status();                     \
  lhs = *std::move(statusor)
