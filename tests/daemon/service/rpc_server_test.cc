#include "daemon/service/rpc_server.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <map>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/steady_clock.h"
#include "client/base/version.h"
#include "daemon/session/runtime_dir.h"
#include "nodecomm/v1/admin.grpc.pb.h"
#include "nodecomm/v1/control.grpc.pb.h"
#include "tests/daemon/service/fakes.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
constexpr char kWatch[] = "/grpc.health.v1.Health/Watch";
constexpr char kCheck[] = "/grpc.health.v1.Health/Check";

// A call of one of gRPC's own services. It stays open as long as the object lives.
class OwnCall {
 public:
  OwnCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    call_ = grpc::GenericStub(channel).PrepareCall(&context_, method, &queue_);
    call_->StartCall(nullptr);
    Await();
    // list_services; of health, the server as a whole.
    const grpc::Slice request(method == kReflection ? std::string("\x3a\x00", 2) : std::string());
    call_->Write(grpc::ByteBuffer(&request, 1), nullptr);
    Await();
    grpc::ByteBuffer answer;
    call_->Read(&answer, nullptr);
    if (Await()) return;
    grpc::Status status;
    call_->Finish(&status, nullptr);
    Await();
    outcome_ = status.error_code();
  }

  // OK: there is an answer.
  grpc::StatusCode outcome() const { return outcome_; }

 private:
  bool Await() {
    void* tag;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  grpc::StatusCode outcome_ = grpc::StatusCode::OK;
};

// The daemon's front: real sockets, sessions and gRPC on both ends; fake groups, memory and GPUs.
class RpcServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto dir = RuntimeDir::Create({.path = parent_ + "/run"});
    ASSERT_OK(dir);
    dir_ = *std::move(dir);
    auto listeners = dir_->Listen();
    ASSERT_OK(listeners);
    SessionServer::Options options;
    options.session_listener = std::move(listeners->session);
    options.control_listener = std::move(listeners->control);
    options.admin_listener = std::move(listeners->admin);
    options.platform = v1::PLATFORM_SIMULATED;
    auto sessions = SessionServer::Create(std::move(options));
    ASSERT_OK(sessions);
    sessions_ = *std::move(sessions);

    DaemonView view;
    view.groups = &groups_;
    view.pool = &pool_;
    view.inventory = &inventory_;
    view.sessions = sessions_.get();
    prover_ = std::make_unique<PeerProver>(
        PeerProver::Options{.cache_path = parent_ + "/peer-access.textproto"}, &host_, &probe_);
    view.host = &host_;
    view.admission = &admission_;
    view.prover = prover_.get();
    view.refresh_host = [this]() -> absl::Status {
      const absl::StatusOr<v1::Host> fresh = inventory_.Read();
      if (fresh.ok()) host_.Update(*fresh);
      return fresh.status();
    };
    view.config = [] {
      v1::GetConfigResponse answer;
      answer.mutable_config()->set_runtime_dir("/run/n");
      answer.set_config_path("/etc/n");
      return answer;
    };
    view.platform = v1::PLATFORM_SIMULATED;
    view.start_time = SteadyNow();
    view.calls_per_uid_per_second = calls_per_uid_per_second_;
    view.call_ended = [this](const CallEnded& ended) {
      absl::MutexLock lock(&mu_);
      ended_.push_back(ended);
    };
    view.auth_failed = [this](AuthFailure failure, const PeerCredentials& peer) {
      EXPECT_EQ(peer.uid, geteuid());
      absl::MutexLock lock(&mu_);
      ++auth_failures_[failure];
    };
    view.cut_off = [this](uid_t uid) {
      absl::MutexLock lock(&mu_);
      ++cut_off_[uid];
    };
    auto rpc = RpcServer::Create(std::move(view));
    ASSERT_OK(rpc);
    rpc_ = *std::move(rpc);
    sessions_->Start({.control_connected =
                          [this](UniqueFd fd, const PeerCredentials& peer) {
                            rpc_->AdoptControl(std::move(fd), peer);
                          },
                      .admin_connected = [this](UniqueFd fd) { rpc_->AdoptAdmin(std::move(fd)); }});
    control_ = v1::Control::NewStub(grpc::CreateChannel(
        absl::StrCat("unix:", dir_->control_socket_path()), grpc::InsecureChannelCredentials()));
    admin_ = v1::Admin::NewStub(grpc::CreateChannel(
        absl::StrCat("unix:", dir_->admin_socket_path()), grpc::InsecureChannelCredentials()));
  }

  void TearDown() override {
    if (sessions_ != nullptr) sessions_->Stop();
    rpc_.reset();
    prover_.reset();
    sessions_.reset();
    dir_.reset();
  }

  // A session and the token that its calls carry, in hexadecimal.
  struct Worker {
    std::unique_ptr<TestWorker> socket;
    uint64_t session = 0;
    std::string token;
  };
  Worker OpenSession() {
    Worker worker;
    worker.socket = std::make_unique<TestWorker>(dir_->session_socket_path());
    const auto welcome = worker.socket->Open();
    EXPECT_OK(welcome);
    if (!welcome.ok()) return worker;
    worker.session = welcome->session_id();
    worker.token = absl::BytesToHexString(welcome->token());
    return worker;
  }

  static void Prepare(grpc::ClientContext& context, const std::string& token) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    if (!token.empty()) context.AddMetadata("nodecomm-session-token", token);
  }

  grpc::Status Leave(const std::string& token, uint64_t generation = 1) {
    grpc::ClientContext context;
    Prepare(context, token);
    v1::LeaveGroupRequest request;
    request.set_generation(generation);
    v1::LeaveGroupResponse response;
    return control_->LeaveGroup(&context, request, &response);
  }

  // A join in a thread of its own, since it waits.
  struct Join {
    std::thread thread;
    grpc::ClientContext context;
    grpc::Status status;
    v1::JoinGroupResponse response;
  };
  std::unique_ptr<Join> StartJoin(const std::string& token, int rank) {
    auto join = std::make_unique<Join>();
    Prepare(join->context, token);
    join->thread = std::thread([this, join = join.get(), rank] {
      v1::JoinGroupRequest request;
      request.set_name("g");
      request.set_rank(rank);
      request.set_attempt(100u + static_cast<uint64_t>(rank));
      join->status = control_->JoinGroup(&join->context, request, &join->response);
    });
    return join;
  }

  // A connection as if of that user.
  std::shared_ptr<grpc::Channel> ConnectAs(uid_t uid) {
    std::array<int, 2> ends;
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
    rpc_->AdoptControl(UniqueFd(ends[0]), {.pid = getpid(), .uid = uid});
    return grpc::CreateInsecureChannelFromFd(absl::StrCat("user", uid), ends[1]);
  }

  // Told before the client has its answer.
  std::vector<CallEnded> TakeEnded() {
    absl::MutexLock lock(&mu_);
    return std::exchange(ended_, {});
  }
  std::map<AuthFailure, int> auth_failures() {
    absl::MutexLock lock(&mu_);
    return auth_failures_;
  }

  int CutOffs(uid_t uid) {
    absl::MutexLock lock(&mu_);
    return cut_off_[uid];
  }

  int calls_per_uid_per_second_ = 1000;
  absl::Mutex mu_;
  std::map<uid_t, int> cut_off_ ABSL_GUARDED_BY(mu_);
  std::vector<CallEnded> ended_ ABSL_GUARDED_BY(mu_);
  std::map<AuthFailure, int> auth_failures_ ABSL_GUARDED_BY(mu_);
  const TemporaryDirectory directory_;
  const std::string parent_ = directory_.path();
  FakeGroupRegistry groups_;
  FakePlanePool pool_;
  FakeInventory inventory_;
  HostState host_{[] {
    v1::Host host;
    host.set_hostname("as it was");
    for (const char* uuid : {"GPU-a", "GPU-b"}) host.add_gpus()->set_uuid(uuid);
    return host;
  }()};
  Admission admission_{&host_, {}, {}};
  FakePairProbe probe_;
  std::unique_ptr<PeerProver> prover_;
  std::unique_ptr<RuntimeDir> dir_;
  std::unique_ptr<SessionServer> sessions_;
  std::unique_ptr<RpcServer> rpc_;
  std::unique_ptr<v1::Control::Stub> control_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

TEST_F(RpcServerTest, HostNeedsNoToken) {
  grpc::ClientContext context;
  Prepare(context, "");
  v1::GetHostResponse response;
  const grpc::Status status = control_->GetHost(&context, {}, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.host().hostname(), "as it was");
  EXPECT_TRUE(response.simulated());
}

TEST_F(RpcServerTest, EveryCallIsToldOfWithItsOutcomeAndTime) {
  const Worker worker = OpenSession();
  ASSERT_TRUE(Leave(worker.token).ok());
  groups_.SetOutcome(absl::NotFoundError("gone"));
  ASSERT_FALSE(Leave(worker.token).ok());
  std::unique_ptr<Join> join = StartJoin(worker.token, 0);
  std::vector<FakeGroupRegistry::PendingJoin> joins = groups_.TakeJoins(1);
  ASSERT_THAT(joins, SizeIs(1));
  absl::SleepFor(absl::Milliseconds(20));  // so that the time is seen to be the call's
  joins[0].done(v1::JoinGroupResponse());
  join->thread.join();
  const std::vector<CallEnded> ended = TakeEnded();
  ASSERT_THAT(ended, SizeIs(3));
  for (const CallEnded& call : ended) EXPECT_EQ(call.service, "nodecomm.v1.Control");
  EXPECT_EQ(ended[0].method, "LeaveGroup");
  EXPECT_EQ(ended[0].code, absl::StatusCode::kOk);
  EXPECT_EQ(ended[1].code, absl::StatusCode::kNotFound);
  EXPECT_EQ(ended[2].method, "JoinGroup");
  EXPECT_GE(ended[2].duration, absl::Milliseconds(20));
}

TEST_F(RpcServerTest, CallWithoutTheRightTokenIsUnauthenticated) {
  const Worker worker = OpenSession();
  std::string wrong = worker.token;
  wrong[63] = wrong[63] == '0' ? '1' : '0';
  std::string no_hex = worker.token;
  no_hex[0] = 'g';
  for (const std::string& token :
       {std::string(), std::string("abc"), wrong, no_hex, worker.token.substr(1),
        worker.token + "00", std::string(64, '0')}) {
    const grpc::Status status = Leave(token);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << token;
    EXPECT_THAT(status.error_message(), HasSubstr("open a session on session.sock first"));
  }
  EXPECT_THAT(groups_.leaves(), SizeIs(0));
  EXPECT_THAT(auth_failures(), UnorderedElementsAre(Pair(AuthFailure::kNoToken, 5),
                                                    Pair(AuthFailure::kUnknownToken, 2)));
}

TEST_F(RpcServerTest, EveryCallButGetHostNeedsATokenAndOnlyOne) {
  const Worker worker = OpenSession();
  const auto expect_unauthenticated = [&](auto method, auto request, auto response) {
    for (const bool twice : {false, true}) {
      grpc::ClientContext context;
      Prepare(context, "");
      if (twice) {
        context.AddMetadata("nodecomm-session-token", worker.token);
        context.AddMetadata("nodecomm-session-token", worker.token);
      }
      EXPECT_EQ((control_.get()->*method)(&context, request, &response).error_code(),
                grpc::StatusCode::UNAUTHENTICATED);
    }
  };
  expect_unauthenticated(&v1::Control::Stub::JoinGroup, v1::JoinGroupRequest(),
                         v1::JoinGroupResponse());
  expect_unauthenticated(&v1::Control::Stub::ConfirmGroup, v1::ConfirmGroupRequest(),
                         v1::ConfirmGroupResponse());
  expect_unauthenticated(&v1::Control::Stub::LeaveGroup, v1::LeaveGroupRequest(),
                         v1::LeaveGroupResponse());
  expect_unauthenticated(&v1::Control::Stub::AbortGroup, v1::AbortGroupRequest(),
                         v1::AbortGroupResponse());
  expect_unauthenticated(&v1::Control::Stub::AllocateShared, v1::AllocateSharedRequest(),
                         v1::AllocateSharedResponse());
  expect_unauthenticated(&v1::Control::Stub::FreeShared, v1::FreeSharedRequest(),
                         v1::FreeSharedResponse());
}

TEST_F(RpcServerTest, RightTokenNamesTheCaller) {
  const Worker worker = OpenSession();
  const grpc::Status status = Leave(worker.token, 42);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const auto leaves = groups_.leaves();
  ASSERT_THAT(leaves, SizeIs(1));
  EXPECT_EQ(leaves[0].first.session.value, worker.session);
  EXPECT_EQ(leaves[0].first.pid, getpid());
  EXPECT_EQ(leaves[0].first.uid, geteuid());
  EXPECT_EQ(leaves[0].second.generation(), 42u);
}

TEST_F(RpcServerTest, TokenDiesWithItsSession) {
  Worker worker = OpenSession();
  ASSERT_TRUE(Leave(worker.token).ok());
  worker.socket->Close();
  ASSERT_TRUE(Eventually([&] { return sessions_->session_count() == 0; }));
  EXPECT_EQ(Leave(worker.token).error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(RpcServerTest, StatusKeepsItsCodeAndMessage) {
  const Worker worker = OpenSession();
  for (const auto& [ours, theirs] :
       {std::pair{absl::StatusCode::kInvalidArgument, grpc::StatusCode::INVALID_ARGUMENT},
        std::pair{absl::StatusCode::kResourceExhausted, grpc::StatusCode::RESOURCE_EXHAUSTED},
        std::pair{absl::StatusCode::kDeadlineExceeded, grpc::StatusCode::DEADLINE_EXCEEDED},
        std::pair{absl::StatusCode::kFailedPrecondition, grpc::StatusCode::FAILED_PRECONDITION},
        std::pair{absl::StatusCode::kAborted, grpc::StatusCode::ABORTED},
        std::pair{absl::StatusCode::kNotFound, grpc::StatusCode::NOT_FOUND},
        std::pair{absl::StatusCode::kInternal, grpc::StatusCode::INTERNAL},
        std::pair{absl::StatusCode::kUnavailable, grpc::StatusCode::UNAVAILABLE}}) {
    groups_.SetOutcome(absl::Status(ours, "rank 3: why and what to do"));
    const grpc::Status status = Leave(worker.token);
    EXPECT_EQ(status.error_code(), theirs);
    EXPECT_EQ(status.error_message(), "rank 3: why and what to do");
  }
}

TEST_F(RpcServerTest, EndlessErrorMessageStillArrives) {
  const Worker worker = OpenSession();
  groups_.SetOutcome(absl::AbortedError(std::string(100'000, 'x')));
  const grpc::Status status = Leave(worker.token);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr("xxx"), SizeIs(2048)));
}

TEST_F(RpcServerTest, TooLargeRequestIsRefused) {
  const Worker worker = OpenSession();
  grpc::ClientContext context;
  Prepare(context, worker.token);
  v1::AbortGroupRequest request;
  request.set_reason(std::string(70'000, 'x'));
  v1::AbortGroupResponse response;
  EXPECT_EQ(control_->AbortGroup(&context, request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(RpcServerTest, OtherCallsReachTheRegistry) {
  const Worker worker = OpenSession();
  {
    grpc::ClientContext context;
    Prepare(context, worker.token);
    v1::ConfirmGroupResponse response;
    EXPECT_TRUE(control_->ConfirmGroup(&context, {}, &response).ok());
  }
  {
    grpc::ClientContext context;
    Prepare(context, worker.token);
    v1::AllocateSharedRequest request;
    request.set_bytes(4096);
    v1::AllocateSharedResponse response;
    EXPECT_TRUE(control_->AllocateShared(&context, request, &response).ok());
    EXPECT_EQ(response.bytes(), 4096u);
    EXPECT_EQ(response.transfer_id(), 5u);
  }
  groups_.SetOutcome(absl::AbortedError("over"));
  {
    grpc::ClientContext context;
    Prepare(context, worker.token);
    v1::AllocateSharedResponse response;
    EXPECT_EQ(control_->AllocateShared(&context, {}, &response).error_code(),
              grpc::StatusCode::ABORTED);
  }
  {
    grpc::ClientContext context;
    Prepare(context, worker.token);
    v1::FreeSharedResponse response;
    EXPECT_EQ(control_->FreeShared(&context, {}, &response).error_code(),
              grpc::StatusCode::ABORTED);
  }
}

TEST_F(RpcServerTest, ConcurrentJoinsAreAnsweredLaterEachItsOwn) {
  const Worker a = OpenSession();
  const Worker b = OpenSession();
  const auto join_a = StartJoin(a.token, 0);
  const auto join_b = StartJoin(b.token, 1);
  auto joins = groups_.TakeJoins(2);
  EXPECT_THAT(joins, SizeIs(2));
  for (auto& join : joins) {
    EXPECT_EQ(join.caller.session.value, join.request.rank() == 0 ? a.session : b.session);
    v1::JoinGroupResponse response;
    response.set_generation(7);
    response.set_transfer_id(100u + static_cast<uint64_t>(join.request.rank()));
    join.done(response);
  }
  join_a->thread.join();
  join_b->thread.join();
  EXPECT_TRUE(join_a->status.ok()) << join_a->status.error_message();
  EXPECT_TRUE(join_b->status.ok()) << join_b->status.error_message();
  EXPECT_EQ(join_a->response.transfer_id(), 100u);
  EXPECT_EQ(join_b->response.transfer_id(), 101u);
}

TEST_F(RpcServerTest, FailedJoinHasTheRegistrysError) {
  const Worker worker = OpenSession();
  const auto join = StartJoin(worker.token, 0);
  auto joins = groups_.TakeJoins(1);
  ASSERT_THAT(joins, SizeIs(1));
  joins[0].done(absl::DeadlineExceededError("rank 1 has not joined"));
  join->thread.join();
  EXPECT_EQ(join->status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(join->status.error_message(), "rank 1 has not joined");
}

TEST_F(RpcServerTest, CancelledJoinMayStillBeAnswered) {
  const Worker worker = OpenSession();
  const auto join = StartJoin(worker.token, 0);
  auto joins = groups_.TakeJoins(1);
  EXPECT_THAT(joins, SizeIs(1));
  join->context.TryCancel();
  join->thread.join();
  EXPECT_EQ(join->status.error_code(), grpc::StatusCode::CANCELLED);
  for (auto& pending : joins) pending.done(v1::JoinGroupResponse());
  // And the server goes on.
  EXPECT_TRUE(Leave(worker.token).ok());
}

TEST_F(RpcServerTest, CancelledJoinIsGivenUpAndAnAnsweredOneIsNot) {
  const Worker worker = OpenSession();
  const auto cancelled = StartJoin(worker.token, 0);
  const auto answered = StartJoin(worker.token, 1);
  auto joins = groups_.TakeJoins(2);
  ASSERT_THAT(joins, SizeIs(2));
  cancelled->context.TryCancel();
  cancelled->thread.join();
  const std::pair<SessionId, uint64_t> given_up = {SessionId{worker.session}, 100};
  EXPECT_TRUE(Eventually([&] { return !groups_.given_up().empty(); }));
  for (auto& pending : joins) pending.done(v1::JoinGroupResponse());
  answered->thread.join();
  EXPECT_TRUE(answered->status.ok());
  EXPECT_THAT(groups_.given_up(), ElementsAre(given_up));
}

TEST_F(RpcServerTest, JoinWhoseConnectionIsLostIsGivenUp) {
  const Worker worker = OpenSession();
  UniqueFd connection = ConnectTo(dir_->control_socket_path(), SOCK_STREAM);
  const UniqueFd same(dup(connection.get()));
  fcntl(connection.get(), F_SETFL, O_NONBLOCK);
  control_ =
      v1::Control::NewStub(grpc::CreateInsecureChannelFromFd("worker", connection.Release()));
  const auto join = StartJoin(worker.token, 0);
  auto joins = groups_.TakeJoins(1);
  EXPECT_THAT(joins, SizeIs(1));
  shutdown(same.get(), SHUT_RDWR);
  EXPECT_TRUE(Eventually([&] { return groups_.given_up().size() == 1; }));
  for (auto& pending : joins) pending.done(v1::JoinGroupResponse());
  join->thread.join();
  EXPECT_FALSE(join->status.ok());
}

TEST_F(RpcServerTest, ShutdownAnswersAWaitingJoinAndIgnoresTheRegistryAfterwards) {
  const Worker worker = OpenSession();
  const auto join = StartJoin(worker.token, 0);
  auto joins = groups_.TakeJoins(1);
  EXPECT_THAT(joins, SizeIs(1));
  sessions_->Stop();
  const SteadyTime begin = SteadyNow();
  rpc_->Shutdown(begin + absl::Seconds(5));
  EXPECT_LT(SteadyNow() - begin, absl::Seconds(10));
  join->thread.join();
  EXPECT_EQ(join->status.error_code(), grpc::StatusCode::UNAVAILABLE);
  rpc_.reset();
  for (auto& pending : joins) pending.done(v1::JoinGroupResponse());
}

TEST_F(RpcServerTest, ShutdownDoesNotWaitForIdleClients) {
  const Worker worker = OpenSession();
  ASSERT_TRUE(Leave(worker.token).ok());
  sessions_->Stop();
  const SteadyTime begin = SteadyNow();
  rpc_->Shutdown(begin + absl::Seconds(10));
  EXPECT_LT(SteadyNow() - begin, absl::Seconds(5));
}

TEST_F(RpcServerTest, GarbageOnTheControlSocketHarmsNobody) {
  const Worker worker = OpenSession();
  const UniqueFd garbage = ConnectTo(dir_->control_socket_path(), SOCK_STREAM);
  const std::string text(10'000, '\xff');
  EXPECT_GT(send(garbage.get(), text.data(), text.size(), MSG_NOSIGNAL), 0);
  EXPECT_TRUE(Leave(worker.token).ok());
}

TEST_F(RpcServerTest, AdminSeesStatus) {
  const Worker worker = OpenSession();
  grpc::ClientContext host_call;
  Prepare(host_call, "");
  v1::GetHostResponse host;
  ASSERT_TRUE(control_->GetHost(&host_call, {}, &host).ok());
  grpc::ClientContext context;
  Prepare(context, "");
  v1::GetStatusResponse response;
  const grpc::Status status = admin_->GetStatus(&context, {}, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.version().minor(), kVersionMinor);
  EXPECT_EQ(response.version_line(), kVersionLine);
  EXPECT_EQ(response.pid(), getpid());
  EXPECT_GE(response.uptime_ms(), 0);
  EXPECT_EQ(response.platform(), v1::PLATFORM_SIMULATED);
  EXPECT_EQ(response.topology_source(), "fake.textproto");
  EXPECT_EQ(response.gpus(), 2);
  EXPECT_EQ(response.sessions(), 1);
  EXPECT_EQ(response.groups_forming(), 1);
  EXPECT_EQ(response.groups_ready(), 1);
  EXPECT_EQ(response.gpus_lost() + response.gpus_draining(), 0);
  EXPECT_GT(response.open_fds(), 3);
  EXPECT_GT(response.open_fds_max(), response.open_fds());
  ASSERT_EQ(response.control_connections_size(), 1);
  EXPECT_EQ(response.control_connections(0).uid(), geteuid());
  EXPECT_EQ(response.control_connections(0).connections(), 1);
}

TEST_F(RpcServerTest, StatusCountsGpusThatAreLostOrOutOfService) {
  host_.SetCondition("GPU-a", v1::GPU_CONDITION_LOST, "Xid 79");
  host_.SetCondition("GPU-b", v1::GPU_CONDITION_DRAINING, "maintenance");
  grpc::ClientContext context;
  Prepare(context, "");
  v1::GetStatusResponse response;
  ASSERT_TRUE(admin_->GetStatus(&context, {}, &response).ok());
  EXPECT_EQ(response.gpus(), 2);
  EXPECT_EQ(response.gpus_lost(), 1);
  EXPECT_EQ(response.gpus_draining(), 1);
  ASSERT_EQ(response.drains_size(), 1);
  EXPECT_EQ(response.drains(0).gpu_uuid(), "GPU-b");
  EXPECT_EQ(response.drains(0).state(), v1::DRAIN_STATE_DRAINED) << "nothing holds it";
  host_.SetCondition("GPU-a", v1::GPU_CONDITION_DRAINING, "maintenance");
  grpc::ClientContext again;
  Prepare(again, "");
  ASSERT_TRUE(admin_->GetStatus(&again, {}, &response).ok());
  ASSERT_EQ(response.drains_size(), 2);
  EXPECT_EQ(response.drains(0).state(), v1::DRAIN_STATE_DRAINING) << "the pool has planes of it";
}

TEST_F(RpcServerTest, StatusNamesLinksThatFail) {
  const auto status = [&] {
    grpc::ClientContext context;
    Prepare(context, "");
    v1::GetStatusResponse response;
    EXPECT_TRUE(admin_->GetStatus(&context, {}, &response).ok());
    return response;
  };
  v1::Host host = host_.host();
  host.mutable_gpus(0)->set_nvlink_errors(5);
  v1::Link* const link = host.add_links();
  link->set_from_uuid("GPU-a");
  link->set_to_uuid("GPU-b");
  link->set_kind(v1::LINK_KIND_PCI);
  link->set_peer_access(v1::PEER_ACCESS_NOT_SUPPORTED);
  host_.Update(host);
  EXPECT_EQ(status().access_lost_size(), 0) << "over PCIe it may never have been there";
  EXPECT_EQ(status().nvlink_errors_size(), 0);
  v1::PeerProof proof;
  proof.set_from_uuid("GPU-a");
  proof.set_to_uuid("GPU-b");
  proof.set_verdict(v1::PROOF_VERDICT_PROVEN);
  host_.SetProof(proof);
  EXPECT_EQ(status().access_lost_size(), 1);
  host_.SetProofs({});
  host.mutable_links(0)->set_kind(v1::LINK_KIND_NVSWITCH);
  host.mutable_gpus(0)->set_nvlink_errors(7);
  host_.Update(host);
  ASSERT_EQ(status().access_lost_size(), 1);
  EXPECT_EQ(status().access_lost(0).to_uuid(), "GPU-b");
  ASSERT_EQ(status().nvlink_errors_size(), 1);
  host.mutable_gpus(1)->set_fabric_state(v1::FABRIC_STATE_IN_PROGRESS);
  host_.Update(host);
  EXPECT_EQ(status().access_lost_size(), 0) << "it waits for the fabric yet";
  EXPECT_EQ(status().nvlink_errors(0).errors(), 2u);
}

TEST_F(RpcServerTest, AdminSeesGroupsAndPools) {
  {
    grpc::ClientContext context;
    Prepare(context, "");
    v1::ListGroupsResponse response;
    ASSERT_TRUE(admin_->ListGroups(&context, {}, &response).ok());
    ASSERT_EQ(response.groups_size(), 3);
    EXPECT_EQ(response.groups(1).name(), "ready");
  }
  {
    grpc::ClientContext context;
    Prepare(context, "");
    v1::ListPoolsResponse response;
    ASSERT_TRUE(admin_->ListPools(&context, {}, &response).ok());
    ASSERT_EQ(response.pools_size(), 1);
    EXPECT_EQ(response.pools(0).planes_ready(), 2);
  }
}

TEST_F(RpcServerTest, AdminSeesTheTopologyReadAnewOrWhyNot) {
  v1::GetTopologyResponse response;
  {
    grpc::ClientContext context;
    Prepare(context, "");
    ASSERT_TRUE(admin_->GetTopology(&context, {}, &response).ok());
    EXPECT_EQ(response.host().hostname(), "read anew");
    EXPECT_TRUE(response.simulated());
  }
  inventory_.fails = true;
  {
    grpc::ClientContext context;
    Prepare(context, "");
    const grpc::Status status = admin_->GetTopology(&context, {}, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
    EXPECT_EQ(status.error_message(), "the driver is gone");
  }
}

TEST_F(RpcServerTest, AdminHasPairsProvenAndSeesThat) {
  grpc::ClientContext check;
  Prepare(check, "");
  v1::CheckPeersRequest request;
  v1::CheckPeersResponse started;
  ASSERT_TRUE(admin_->CheckPeers(&check, request, &started).ok());
  EXPECT_TRUE(started.started());
  ASSERT_TRUE(prover_->WaitUntilDone(absl::Seconds(20)));
  grpc::ClientContext status_call;
  Prepare(status_call, "");
  v1::GetStatusResponse status;
  ASSERT_TRUE(admin_->GetStatus(&status_call, {}, &status).ok());
  EXPECT_EQ(status.pairs_proven(), 2);
  EXPECT_EQ(status.pairs_failed(), 0);
  EXPECT_EQ(status.pairs_unproven(), 0);
  grpc::ClientContext topology_call;
  Prepare(topology_call, "");
  v1::GetTopologyResponse topology;
  ASSERT_TRUE(admin_->GetTopology(&topology_call, {}, &topology).ok());
  EXPECT_EQ(topology.proofs_size(), 2);
  EXPECT_EQ(topology.check().pairs_done(), 2);

  host_.SetCondition("GPU-a", v1::GPU_CONDITION_LOST, "Xid 79");
  grpc::ClientContext lost_call;
  Prepare(lost_call, "");
  ASSERT_TRUE(admin_->GetStatus(&lost_call, {}, &status).ok());
  EXPECT_EQ(status.pairs_proven(), 0) << "with a GPU that is lost";
  EXPECT_EQ(status.pairs_unproven(), 0);
}

TEST_F(RpcServerTest, ProofsStayWhereNoneCanBeMadeAnew) {
  ASSERT_TRUE(prover_->Start(PeerProver::Which::kMissing).value_or(false));
  ASSERT_TRUE(prover_->WaitUntilDone(absl::Seconds(20)));
  probe_.missing = true;
  v1::CheckPeersRequest request;
  request.set_force(true);
  grpc::ClientContext forced;
  Prepare(forced, "");
  v1::CheckPeersResponse response;
  const grpc::Status status = admin_->CheckPeers(&forced, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("the probe /x cannot be run"));
  ASSERT_TRUE(prover_->WaitUntilDone(absl::Seconds(20)));
  grpc::ClientContext asked;
  Prepare(asked, "");
  v1::GetStatusResponse now;
  ASSERT_TRUE(admin_->GetStatus(&asked, {}, &now).ok());
  EXPECT_EQ(now.pairs_proven(), 2);
}

TEST_F(RpcServerTest, AdminIsToldWhyThereIsNoFastPath) {
  v1::ExplainFastPathRequest request;
  request.add_gpu_uuids("GPU-a");
  request.add_gpu_uuids("GPU-b");
  grpc::ClientContext context;
  Prepare(context, "");
  v1::ExplainFastPathResponse response;
  ASSERT_TRUE(admin_->ExplainFastPath(&context, request, &response).ok());
  EXPECT_FALSE(response.fast_path().supported());
  EXPECT_EQ(response.fast_path().reason(), v1::FAST_PATH_REASON_UNPROVEN);
  request.add_gpu_uuids("GPU-of-another-host");
  grpc::ClientContext unknown;
  Prepare(unknown, "");
  EXPECT_EQ(admin_->ExplainFastPath(&unknown, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RpcServerTest, SessionsAreListedWithTheirHoldersTheOldestFirst) {
  const Worker first = OpenSession();
  const Worker second = OpenSession();
  groups_.SetMember(absl::StrFormat("%016x", second.session));
  grpc::ClientContext context;
  Prepare(context, "");
  v1::ListSessionsResponse response;
  ASSERT_TRUE(admin_->ListSessions(&context, {}, &response).ok());
  ASSERT_EQ(response.sessions_size(), 2);
  EXPECT_EQ(response.sessions(0).session(), absl::StrFormat("%016x", first.session));
  EXPECT_EQ(response.sessions(0).pid(), getpid());
  EXPECT_EQ(response.sessions(0).uid(), geteuid());
  EXPECT_EQ(response.sessions(0).generations_size(), 0);
  EXPECT_EQ(response.sessions(1).session(), absl::StrFormat("%016x", second.session));
  // In two of the three groups as a member, in one of which it has left.
  EXPECT_THAT(response.sessions(1).generations(), testing::ElementsAre(11));
  EXPECT_GE(response.sessions(0).age_ms(), response.sessions(1).age_ms());
  EXPECT_EQ(response.sessions(0).process_state(), v1::PROCESS_STATE_GOES_ON);
  for (const Worker* worker : {&first, &second}) {
    EXPECT_THAT(response.DebugString(), testing::Not(HasSubstr(worker->token)));
  }
}

TEST_F(RpcServerTest, ConfigurationIsThatOfTheDaemon) {
  grpc::ClientContext context;
  Prepare(context, "");
  v1::GetConfigResponse response;
  ASSERT_TRUE(admin_->GetConfig(&context, {}, &response).ok());
  EXPECT_EQ(response.config().runtime_dir(), "/run/n");
  EXPECT_EQ(response.config_path(), "/etc/n");
}

TEST_F(RpcServerTest, WorkersSocketDoesNotServeAdministrators) {
  const auto stub = v1::Admin::NewStub(grpc::CreateChannel(
      absl::StrCat("unix:", dir_->control_socket_path()), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  Prepare(context, "");
  v1::ListGroupsResponse response;
  TakeEnded();
  EXPECT_EQ(stub->ListGroups(&context, {}, &response).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  // Told without the name, of which a stranger can make up any number.
  const std::vector<CallEnded> ended = TakeEnded();
  ASSERT_THAT(ended, SizeIs(1));
  EXPECT_EQ(ended[0].service, "other");
  EXPECT_EQ(ended[0].method, "other");
}

// Of what is small as it comes and large once it is inflated.
TEST_F(RpcServerTest, CompressedRequestsAreRefused) {
  const Worker worker = OpenSession();
  v1::AbortGroupRequest request;
  request.set_reason(std::string(10 << 20, 'a'));
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    grpc::ClientContext context;
    Prepare(context, worker.token);
    context.set_compression_algorithm(algorithm);
    v1::AbortGroupResponse response;
    const grpc::Status status = control_->AbortGroup(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
  }
}

// Each holds a thread of the daemon, of which there are few.
TEST_F(RpcServerTest, ReflectionOfOneUserLeavesThreadsToAnother) {
  const std::array<std::shared_ptr<grpc::Channel>, 2> greedy = {ConnectAs(60002), ConnectAs(60002)};
  std::vector<std::unique_ptr<OwnCall>> held;
  int served = 0;
  for (size_t i = 0; i < 20; ++i) {
    held.push_back(std::make_unique<OwnCall>(greedy[i % 2], kReflection));
    if (held.back()->outcome() == grpc::StatusCode::OK) {
      ++served;
    } else {
      EXPECT_EQ(held.back()->outcome(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    }
  }
  EXPECT_EQ(served, 2);
  for (const CallEnded& ended : TakeEnded()) {
    EXPECT_EQ(ended.code, absl::StatusCode::kResourceExhausted) << ended.service;
  }
  EXPECT_EQ(OwnCall(ConnectAs(60003), kReflection).outcome(), grpc::StatusCode::OK);
  // And to itself, once it has let go.
  held.clear();
  EXPECT_TRUE(Eventually(
      [&] { return OwnCall(greedy[0], kReflection).outcome() == grpc::StatusCode::OK; }));
}

TEST_F(RpcServerTest, ReflectionOfManyUsersLeavesThreadsToAnother) {
  std::vector<std::unique_ptr<OwnCall>> held;
  for (uid_t uid = 60002; uid < 60010; ++uid) {
    const auto greedy = ConnectAs(uid);
    for (int i = 0; i < 2; ++i) {
      held.push_back(std::make_unique<OwnCall>(greedy, kReflection));
      EXPECT_EQ(held.back()->outcome(), grpc::StatusCode::OK) << uid;
    }
  }
  const auto another = ConnectAs(60010);
  for (const char* method : {kReflection, kWatch, kCheck}) {
    EXPECT_EQ(OwnCall(another, method).outcome(), grpc::StatusCode::OK) << method;
  }
  const Worker worker = OpenSession();
  EXPECT_TRUE(Leave(worker.token).ok());
}

TEST_F(RpcServerTest, WatchesOfHealthAreBoundedByUser) {
  const auto greedy = ConnectAs(60002);
  std::vector<std::unique_ptr<OwnCall>> held;
  do {
    held.push_back(std::make_unique<OwnCall>(greedy, kWatch));
  } while (held.back()->outcome() == grpc::StatusCode::OK && held.size() < 200);
  EXPECT_EQ(held.size(), 65u);
  EXPECT_EQ(held.back()->outcome(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(OwnCall(ConnectAs(60003), kWatch).outcome(), grpc::StatusCode::OK);
  EXPECT_EQ(OwnCall(greedy, kCheck).outcome(), grpc::StatusCode::OK);
  held.clear();
  EXPECT_TRUE(
      Eventually([&] { return OwnCall(greedy, kWatch).outcome() == grpc::StatusCode::OK; }));
}

class RpcServerRate : public RpcServerTest {
 protected:
  RpcServerRate() { calls_per_uid_per_second_ = 1; }
};

TEST_F(RpcServerRate, CallsOfGrpcsOwnServicesCount) {
  for (const char* method : {kCheck, kWatch, kReflection}) {
    const auto user = ConnectAs(method == kCheck ? 60002 : method == kWatch ? 60003 : 60004);
    std::vector<grpc::StatusCode> outcomes;
    for (int i = 0; i < 20; ++i) outcomes.push_back(OwnCall(user, method).outcome());
    EXPECT_EQ(outcomes.front(), grpc::StatusCode::OK) << method;
    EXPECT_THAT(outcomes, testing::Contains(grpc::StatusCode::RESOURCE_EXHAUSTED)) << method;
  }
  EXPECT_EQ(OwnCall(ConnectAs(60005), kCheck).outcome(), grpc::StatusCode::OK);
}

// Of a call that is answered and of streams that are few enough nobody is cut off.
TEST_F(RpcServerRate, UserWhoResetsMoreCallsThanItMayIsCutOff) {
  const Worker worker = OpenSession();
  const auto reset_a_join = [&](unsigned rank) {
    std::unique_ptr<Join> join = StartJoin(worker.token, static_cast<int>(rank));
    std::vector<FakeGroupRegistry::PendingJoin> joins = groups_.TakeJoins(1);
    ASSERT_THAT(joins, SizeIs(1));
    join->context.TryCancel();
    join->thread.join();
    // Or it could be answered in time.
    EXPECT_TRUE(Eventually([&] { return groups_.given_up().size() == 1u + rank; }));
    joins[0].done(v1::JoinGroupResponse());
  };
  EXPECT_EQ(OwnCall(ConnectAs(60003), kWatch).outcome(), grpc::StatusCode::OK);
  reset_a_join(0);
  EXPECT_EQ(CutOffs(geteuid()), 0) << "one a second";
  reset_a_join(1);
  EXPECT_TRUE(Eventually([&] { return CutOffs(geteuid()) == 1; }));
  EXPECT_EQ(CutOffs(60003), 0);
}

TEST_F(RpcServerTest, CallsThatAreAnsweredHaveNobodyCutOff) {
  const Worker worker = OpenSession();
  for (int i = 0; i < 1500; ++i) ASSERT_TRUE(Leave(worker.token).ok());
  EXPECT_EQ(CutOffs(geteuid()), 0);
}

// So that a stranger cannot fill the metrics with names.
TEST_F(RpcServerRate, NamesThatNoServiceHasAreNotToldOfAlsoWhereTheyAreTooMany) {
  const auto user = ConnectAs(60002);
  for (int i = 0; i < 20; ++i) {
    EXPECT_NE(OwnCall(user, absl::StrCat("/grpc.health.v1.Health/", i)).outcome(),
              grpc::StatusCode::OK);
  }
  std::vector<CallEnded> ended;
  EXPECT_TRUE(Eventually([&] {
    for (CallEnded& call : TakeEnded()) ended.push_back(std::move(call));
    return ended.size() >= 20;
  }));
  for (const CallEnded& call : ended) EXPECT_EQ(call.service, "other");
}

TEST_F(RpcServerTest, StolenTokenIsAsGoodAsNone) {
  const Worker victim = OpenSession();
  // Another process of the same user.
  const pid_t child = fork();
  if (child == 0) {
    // gRPC does not survive a fork, so the thief is a program of its own.
    execl("/proc/self/exe", "rpc_server_test", "--thief", dir_->control_socket_path().c_str(),
          victim.token.c_str(), nullptr);
    _exit(99);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(auth_failures(), UnorderedElementsAre(Pair(AuthFailure::kForeignToken, 1)));
  EXPECT_NE(Leave(victim.token).error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

}  // namespace
}  // namespace nodecomm

// With --thief SOCKET TOKEN: makes a call with somebody else's token; the exit code is gRPC's.
int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "--thief") {
    const auto control = nodecomm::v1::Control::NewStub(
        grpc::CreateChannel(absl::StrCat("unix:", argv[2]), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    context.AddMetadata("nodecomm-session-token", argv[3]);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    nodecomm::v1::LeaveGroupRequest request;
    nodecomm::v1::LeaveGroupResponse response;
    return control->LeaveGroup(&context, request, &response).error_code();
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
