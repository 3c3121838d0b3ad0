#include "client/communicator/membership.h"

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/base/utf8.h"
#include "nodecomm/v1/control.grpc.pb.h"
#include "tests/client/session/fake_session_daemon.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm::client {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Lt;
using ::testing::SizeIs;
using ::testing::StartsWith;

// Takes every join, answers each ask for a shared buffer with an error, and keeps the reasons of
// aborts.
class FakeControl : public v1::Control::Service {
 public:
  void AnswerShared(grpc::Status answer) {
    const absl::MutexLock lock(&mutex_);
    shared_answer_ = std::move(answer);
  }
  // How long the last join's caller would have waited.
  absl::Duration join_bound() const {
    const absl::MutexLock lock(&mutex_);
    return join_bound_;
  }
  std::vector<std::string> reasons() const {
    const absl::MutexLock lock(&mutex_);
    return reasons_;
  }

  // Its transfer is none that could come, and is not waited for.
  grpc::Status JoinGroup(grpc::ServerContext* context, const v1::JoinGroupRequest*,
                         v1::JoinGroupResponse* response) override {
    const absl::MutexLock lock(&mutex_);
    join_bound_ = absl::FromChrono(context->deadline()) - absl::Now();
    response->set_generation(17);
    return grpc::Status::OK;
  }
  grpc::Status AllocateShared(grpc::ServerContext* /*context*/, const v1::AllocateSharedRequest*,
                              v1::AllocateSharedResponse*) override {
    const absl::MutexLock lock(&mutex_);
    return shared_answer_;
  }
  // Takes the second.
  grpc::Status LeaveGroup(grpc::ServerContext* /*context*/, const v1::LeaveGroupRequest* request,
                          v1::LeaveGroupResponse*) override {
    const absl::MutexLock lock(&mutex_);
    EXPECT_EQ(request->last_epoch(), 5u);
    if (++leaves_ > 1) return grpc::Status::OK;
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "user 0 makes more than 1 calls a second"};
  }
  bool WaitForLeaves(int count) {
    const auto come = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return leaves_ >= count; };
    const absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&come), absl::Seconds(20));
  }
  grpc::Status AbortGroup(grpc::ServerContext* /*context*/, const v1::AbortGroupRequest* request,
                          v1::AbortGroupResponse*) override {
    const absl::MutexLock lock(&mutex_);
    EXPECT_EQ(request->generation(), 17u);
    reasons_.push_back(request->reason());
    return grpc::Status::OK;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Duration join_bound_ ABSL_GUARDED_BY(mutex_);
  grpc::Status shared_answer_ ABSL_GUARDED_BY(mutex_);
  int leaves_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> reasons_ ABSL_GUARDED_BY(mutex_);
};

class MembershipTest : public ::testing::Test {
 protected:
  MembershipTest() : sessions_(directory_.path()) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + directory_.path() + "/control.sock",
                             grpc::InsecureServerCredentials());
    builder.RegisterService(&control_);
    server_ = builder.BuildAndStart();
    Join(absl::ZeroDuration());
  }

  void Join(absl::Duration rendezvous_timeout) {
    absl::StatusOr<std::shared_ptr<DaemonLink>> link = DaemonLink::Open(directory_.path());
    ASSERT_OK(link);
    auto joined = Membership::Join(
        *std::move(link),
        {.name = "test", .world_size = {2}, .rank = {1}, .rendezvous_timeout = rendezvous_timeout},
        DeviceFacts());
    ASSERT_OK(joined);
    membership_ = *std::move(joined);
  }

  TemporaryDirectory directory_;
  FakeSessionDaemon sessions_;
  FakeControl control_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Membership> membership_;
};

// Who is missing the daemon says; that it hangs, this process alone can say.
TEST_F(MembershipTest, WaitsLongerThanTheDaemonDoes) {
  // gRPC sends it rounded up, to three digits.
  const auto is_about = [&](absl::Duration bound) {
    return AllOf(Gt(bound - absl::Seconds(20)), Lt(bound * 1.1));
  };
  EXPECT_THAT(control_.join_bound(), is_about(absl::Minutes(10))) << "it does not say how long";
  Join(absl::Hours(3));
  EXPECT_THAT(control_.join_bound(), is_about(absl::Hours(3) + absl::Seconds(10)));
  membership_.reset();
  sessions_.SetRendezvousTimeout(absl::Seconds(60));
  Join(absl::ZeroDuration());
  EXPECT_THAT(control_.join_bound(), is_about(absl::Minutes(10))) << "a reload may lengthen it";
  membership_.reset();
  sessions_.SetRendezvousTimeout(absl::Hours(24));
  Join(absl::ZeroDuration());
  EXPECT_THAT(control_.join_bound(), is_about(absl::Hours(24) + absl::Seconds(10)));
}

TEST_F(MembershipTest, ReasonOfAnyLengthIsTold) {
  EXPECT_OK(membership_->Abort("spilt " + std::string(70'000, 'x')));
  ASSERT_THAT(control_.reasons(), SizeIs(1));
  EXPECT_THAT(control_.reasons()[0], StartsWith("spilt xxx"));
  EXPECT_THAT(control_.reasons()[0].size(), Le(500));
}

TEST_F(MembershipTest, ReasonOfAnyBytesIsTold) {
  EXPECT_OK(membership_->Abort("out of \xff memory"));
  EXPECT_THAT(control_.reasons(), ElementsAre("out of ? memory"));
}

// It is told again a second later, so there is nothing that the caller could do.
TEST_F(MembershipTest, LeaveThatTheDaemonRefusesForAMomentIsNoError) {
  EXPECT_OK(membership_->Leave(5));
  EXPECT_TRUE(control_.WaitForLeaves(2));
}

// The others may have the buffer: they count it, and this rank would ask for it for ever.
TEST_F(MembershipTest, LostAnswerAboutASharedBufferAbortsTheGroup) {
  for (const grpc::StatusCode code : {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::CANCELLED}) {
    control_.AnswerShared({code, "Socket closed"});
    EXPECT_THAT(membership_->AllocateShared(ByteCount{64}),
                StatusIs(absl::StatusCode::kUnavailable));
    ASSERT_THAT(control_.reasons(), Not(IsEmpty()));
    EXPECT_THAT(control_.reasons().back(), HasSubstr("rank 1 did not get the answer about a"));
  }
  EXPECT_THAT(control_.reasons(), SizeIs(2));
}

// All ranks get the same, and may try again.
TEST_F(MembershipTest, SharedBufferThatTheDaemonRefusesLetsTheGroupGoOn) {
  for (const grpc::StatusCode code :
       {grpc::StatusCode::RESOURCE_EXHAUSTED, grpc::StatusCode::FAILED_PRECONDITION,
        grpc::StatusCode::DEADLINE_EXCEEDED}) {
    control_.AnswerShared({code, "rank 0 did not ask for it"});
    EXPECT_THAT(membership_->AllocateShared(ByteCount{64}),
                StatusIs(static_cast<absl::StatusCode>(code)));
  }
  EXPECT_THAT(control_.reasons(), IsEmpty());
}

}  // namespace
}  // namespace nodecomm::client
