#include "client/session/control_client.h"

#include <grpcpp/grpcpp.h>

#include "absl/strings/escaping.h"
#include "absl/synchronization/notification.h"
#include "nodecomm/v1/control.grpc.pb.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kLongEnough = absl::Seconds(20);
constexpr char kToken[] = "\x01\xfe\x10 raw";

std::string TokenOf(const grpc::ServerContext& context) {
  const auto found = context.client_metadata().find("nodecomm-session-token");
  if (found == context.client_metadata().end()) return "none";
  return std::string(found->second.data(), found->second.size());
}

// Answers with what it was asked, or with `answer` if that is an error.
class FakeControl : public v1::Control::Service {
 public:
  grpc::Status answer;
  bool marks_answers = true;   // of JoinGroup
  absl::Notification release;  // AbortGroup waits for it
  std::string token;
  v1::LeaveGroupRequest left;
  v1::FreeSharedRequest freed;

  grpc::Status GetHost(grpc::ServerContext* context, const v1::GetHostRequest* /*request*/,
                       v1::GetHostResponse* response) override {
    token = TokenOf(*context);
    response->set_simulated(true);
    return answer;
  }
  grpc::Status JoinGroup(grpc::ServerContext* context, const v1::JoinGroupRequest* request,
                         v1::JoinGroupResponse* response) override {
    if (marks_answers) context->AddTrailingMetadata("nodecomm-answered", "1");
    response->set_plane_bytes(request->plane_bytes());
    return answer;
  }
  grpc::Status ConfirmGroup(grpc::ServerContext* /*context*/, const v1::ConfirmGroupRequest*,
                            v1::ConfirmGroupResponse*) override {
    return answer;
  }
  grpc::Status LeaveGroup(grpc::ServerContext* /*context*/, const v1::LeaveGroupRequest* request,
                          v1::LeaveGroupResponse*) override {
    left = *request;
    return answer;
  }
  grpc::Status AbortGroup(grpc::ServerContext* /*context*/, const v1::AbortGroupRequest*,
                          v1::AbortGroupResponse*) override {
    release.WaitForNotification();
    return answer;
  }
  grpc::Status AllocateShared(grpc::ServerContext* /*context*/,
                              const v1::AllocateSharedRequest* request,
                              v1::AllocateSharedResponse* response) override {
    response->set_bytes(request->bytes());
    return answer;
  }
  grpc::Status FreeShared(grpc::ServerContext* /*context*/, const v1::FreeSharedRequest* request,
                          v1::FreeSharedResponse*) override {
    freed = *request;
    return answer;
  }
};

class ControlClientTest : public ::testing::Test {
 protected:
  ControlClientTest() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + directory_.path() + "/control.sock",
                             grpc::InsecureServerCredentials());
    builder.RegisterService(&control_);
    server_ = builder.BuildAndStart();
  }
  ~ControlClientTest() override {
    if (!control_.release.HasBeenNotified()) control_.release.Notify();
    server_->Shutdown();
  }

  TemporaryDirectory directory_;
  FakeControl control_;
  std::unique_ptr<grpc::Server> server_;
  ControlClient client_{directory_.path(), kToken};
};

TEST_F(ControlClientTest, SendsTheTokenInHexadecimal) {
  const absl::StatusOr<v1::GetHostResponse> host = client_.GetHost(kLongEnough);
  ASSERT_OK(host);
  EXPECT_TRUE(host->simulated());
  EXPECT_EQ(control_.token, absl::BytesToHexString(kToken));
}

TEST_F(ControlClientTest, CarriesRequestsAndAnswers) {
  v1::JoinGroupRequest join;
  join.set_plane_bytes(123);
  const absl::StatusOr<v1::JoinGroupResponse> joined = client_.JoinGroup(join, kLongEnough);
  ASSERT_OK(joined);
  EXPECT_EQ(joined->plane_bytes(), 123);
  EXPECT_OK(client_.ConfirmGroup(v1::ConfirmGroupRequest(), kLongEnough));
  v1::LeaveGroupRequest leave;
  leave.set_last_epoch(17);
  EXPECT_OK(client_.LeaveGroup(leave, kLongEnough));
  EXPECT_EQ(control_.left.last_epoch(), 17);
  v1::AllocateSharedRequest allocate;
  allocate.set_bytes(456);
  const absl::StatusOr<v1::AllocateSharedResponse> shared =
      client_.AllocateShared(allocate, kLongEnough);
  ASSERT_OK(shared);
  EXPECT_EQ(shared->bytes(), 456);
  v1::FreeSharedRequest free;
  free.set_sequence(3);
  EXPECT_OK(client_.FreeShared(free, kLongEnough));
  EXPECT_EQ(control_.freed.sequence(), 3);
}

TEST_F(ControlClientTest, KeepsCodeAndMessageOfErrors) {
  control_.answer = grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "ranks 0 and 1 disagree");
  EXPECT_THAT(client_.JoinGroup(v1::JoinGroupRequest(), kLongEnough),
              StatusIs(absl::StatusCode::kFailedPrecondition, "ranks 0 and 1 disagree"));
  control_.answer = grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "GPU is full");
  EXPECT_THAT(client_.ConfirmGroup(v1::ConfirmGroupRequest(), kLongEnough),
              StatusIs(absl::StatusCode::kResourceExhausted, "GPU is full"));
}

// Rather than that it has gone.
TEST_F(ControlClientTest, ReasonOfADaemonThatTakesNoCallsStandsAlone) {
  control_.answer = grpc::Status(grpc::StatusCode::UNAVAILABLE, "the daemon is stopping");
  EXPECT_THAT(client_.JoinGroup(v1::JoinGroupRequest(), kLongEnough),
              StatusIs(absl::StatusCode::kUnavailable, "the daemon is stopping"));
  control_.answer = grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "rank 1 did not join");
  EXPECT_THAT(client_.JoinGroup(v1::JoinGroupRequest(), kLongEnough),
              StatusIs(absl::StatusCode::kDeadlineExceeded, "rank 1 did not join"));
}

// gRPC's words for a lost connection say nothing of whose it was, and it has several codes for one.
TEST_F(ControlClientTest, WhatTheDaemonDidNotSayNamesIt) {
  control_.marks_answers = false;
  for (const grpc::StatusCode code :
       {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::UNKNOWN, grpc::StatusCode::CANCELLED}) {
    control_.answer = grpc::Status(code, "Socket closed");
    EXPECT_THAT(client_.JoinGroup(v1::JoinGroupRequest(), kLongEnough),
                StatusIs(absl::StatusCode::kUnavailable,
                         AllOf(HasSubstr(directory_.path() + "/control.sock has gone"),
                               HasSubstr("Socket closed"))));
  }
}

TEST_F(ControlClientTest, UnknownTokenMeansAnotherDaemon) {
  control_.answer = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "no such session");
  EXPECT_THAT(client_.ConfirmGroup(v1::ConfirmGroupRequest(), kLongEnough),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("was it restarted?")));
}

TEST_F(ControlClientTest, CallsAreBounded) {
  EXPECT_THAT(client_.AbortGroup(v1::AbortGroupRequest(), absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr(directory_.path() + "/control.sock did not answer in time")));
}

TEST(ControlClient, NoDaemonIsUnavailableAtOnce) {
  const TemporaryDirectory directory;
  ControlClient client(directory.path(), kToken);
  EXPECT_THAT(
      client.GetHost(kLongEnough),
      StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr(directory.path() + "/control.sock"),
                                                     HasSubstr("systemctl status nodecommd"))));
}

}  // namespace
}  // namespace nodecomm
