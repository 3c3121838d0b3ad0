// The matchers of Abseil's status_matchers.h, which Debian 12's Abseil does not have yet; same
// spelling.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace absl_testing {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& value) {
  return value.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << GetStatus(arg);
  return GetStatus(arg).ok();
}

MATCHER_P(StatusIs, code, "") { return GetStatus(arg).code() == code; }

MATCHER_P2(StatusIs, code, message_matcher, "") {
  *result_listener << GetStatus(arg);
  return GetStatus(arg).code() == code &&
         ::testing::ExplainMatchResult(message_matcher, std::string(GetStatus(arg).message()),
                                       result_listener);
}

}  // namespace absl_testing

#define ASSERT_OK(expr) ASSERT_THAT((expr), ::absl_testing::IsOk())
#define EXPECT_OK(expr) EXPECT_THAT((expr), ::absl_testing::IsOk())
