#include "daemon/session/handshake.h"

#include <limits>

#include "client/base/version.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string HelloOf(int major, int minor) {
  v1::SessionHello hello;
  hello.mutable_version()->set_major(major);
  hello.mutable_version()->set_minor(minor);
  return hello.SerializeAsString();
}

TEST(Handshake, NeighbouringMinorVersionsAreServed) {
  EXPECT_OK(CheckHello(HelloOf(kVersionMajor, kVersionMinor)));
  EXPECT_OK(CheckHello(HelloOf(kVersionMajor, kVersionMinor + 1)));
  EXPECT_OK(CheckHello(HelloOf(kVersionMajor, kVersionMinor - 1)));
}

TEST(Handshake, OtherVersionsAreRefusedWithBothNamed) {
  for (const auto& [major, minor] :
       {std::pair{kVersionMajor, kVersionMinor + 2}, std::pair{kVersionMajor, kVersionMinor - 2},
        std::pair{kVersionMajor + 1, kVersionMinor}, std::pair{-1, kVersionMinor},
        std::pair{kVersionMajor, std::numeric_limits<int>::min()},
        std::pair{kVersionMajor, std::numeric_limits<int>::max()}}) {
    EXPECT_THAT(CheckHello(HelloOf(major, minor)),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr(kVersion), HasSubstr(std::to_string(minor)),
                               HasSubstr("install matching versions"))));
  }
}

TEST(Handshake, WhatIsNoHelloIsAnError) {
  EXPECT_THAT(CheckHello(""), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(CheckHello("\xff\xff\xff"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(Handshake, IdentitiesDiffer) {
  const auto a = NewSessionIdentity();
  const auto b = NewSessionIdentity();
  ASSERT_OK(a);
  ASSERT_OK(b);
  EXPECT_NE(a->id.value, 0u);
  EXPECT_NE(a->id, b->id);
  EXPECT_NE(a->token, b->token);
}

TEST(Handshake, TokensAreComparedWhole) {
  Token token;
  token.fill('t');
  std::string guess(kTokenBytes, 't');
  EXPECT_TRUE(EqualInConstantTime(token, guess));
  for (const size_t wrong : {size_t{0}, kTokenBytes / 2, kTokenBytes - 1}) {
    std::string other = guess;
    other[wrong] = 'u';
    EXPECT_FALSE(EqualInConstantTime(token, other));
  }
  EXPECT_FALSE(EqualInConstantTime(token, ""));
  EXPECT_FALSE(EqualInConstantTime(token, guess + "t"));
  EXPECT_FALSE(EqualInConstantTime(token, guess.substr(1)));
}

TEST(Handshake, AnswersHoldWhatTheySay) {
  SessionIdentity identity;
  identity.id = SessionId{42};
  identity.token.fill('\x01');
  v1::SessionWelcome welcome;
  ASSERT_TRUE(welcome.ParseFromString(
      WelcomePayload(identity, v1::PLATFORM_SIMULATED, 17, absl::Seconds(60))));
  EXPECT_EQ(welcome.last_transfer_id(), 17u);
  EXPECT_EQ(welcome.rendezvous_timeout_ms(), 60'000);
  EXPECT_EQ(welcome.session_id(), 42u);
  EXPECT_EQ(welcome.token(), std::string(kTokenBytes, '\x01'));
  EXPECT_EQ(welcome.version().minor(), kVersionMinor);
  EXPECT_EQ(welcome.platform(), v1::PLATFORM_SIMULATED);
  v1::SessionRefusal refusal;
  ASSERT_TRUE(refusal.ParseFromString(RefusalPayload("no")));
  EXPECT_EQ(refusal.reason(), "no");
  EXPECT_FALSE(refusal.daemon_failed());
  EXPECT_EQ(refusal.version().major(), kVersionMajor);
}

TEST(Handshake, FailuresAreTheDaemonsUnlessALimitIsReached) {
  v1::SessionRefusal refusal;
  ASSERT_TRUE(refusal.ParseFromString(FailurePayload(absl::PermissionDeniedError("closed"))));
  EXPECT_TRUE(refusal.daemon_failed());
  EXPECT_EQ(refusal.reason(), "closed");
  EXPECT_EQ(refusal.version().minor(), kVersionMinor);
  ASSERT_TRUE(refusal.ParseFromString(FailurePayload(absl::ResourceExhaustedError("full"))));
  EXPECT_FALSE(refusal.daemon_failed());
}

}  // namespace
}  // namespace nodecomm
