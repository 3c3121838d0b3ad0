// The client against a gRPC service on a Unix socket, and against sockets that have none.
#include "client/cli/admin_client.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/base/unique_fd.h"
#include "tests/client/cli/fake_admin.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(AdminClient, GetsEveryAnswer) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers;
  answers.status.set_pid(42);
  answers.topology.set_simulated(true);
  answers.groups.add_groups()->set_name("tp");
  answers.pools.add_pools()->set_planes_ready(2);
  const FakeAdmin admin(dir, answers);
  ASSERT_TRUE(admin.started());
  const auto client = AdminClient::Connect(dir.path());
  ASSERT_OK(client);

  const auto status = (*client)->GetStatus();
  ASSERT_OK(status);
  EXPECT_EQ(status->pid(), 42);
  const auto topology = (*client)->GetTopology();
  ASSERT_OK(topology);
  EXPECT_TRUE(topology->simulated());
  const auto groups = (*client)->ListGroups();
  ASSERT_OK(groups);
  ASSERT_EQ(groups->groups_size(), 1);
  EXPECT_EQ(groups->groups(0).name(), "tp");
  const auto pools = (*client)->ListPools();
  ASSERT_OK(pools);
  ASSERT_EQ(pools->pools_size(), 1);
  EXPECT_EQ(pools->pools(0).planes_ready(), 2);
}

TEST(AdminClient, SaysThatThereIsNoDaemonAndHowToStartIt) {
  const FakeRuntimeDir dir;
  EXPECT_THAT(AdminClient::Connect(dir.path()).status(),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("no nodecommd at " + dir.socket() + ": No such file"),
                             HasSubstr("nodecommd --runtime-dir " + dir.path()))));
}

// A daemon that was killed leaves its socket's name behind.
TEST(AdminClient, SaysThatNobodyListensOnTheSocket) {
  const FakeRuntimeDir dir;
  {
    const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, dir.socket().data(), dir.socket().size());
    ASSERT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  EXPECT_THAT(AdminClient::Connect(dir.path()).status(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("no nodecommd at " + dir.socket() + ": Connection refused")));
}

TEST(AdminClient, TellsADaemonWithoutASocketFromNone) {
  const FakeRuntimeDir dir;
  const UniqueFd lock(
      open((dir.path() + "/nodecommd.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(flock(lock.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_THAT(
      AdminClient::Connect(dir.path()).status(),
      StatusIs(
          absl::StatusCode::kUnavailable,
          AllOf(HasSubstr(absl::StrCat("nodecommd (process ", getpid(), ") serves ", dir.path())),
                HasSubstr("restart the daemon"))));
}

TEST(AdminClient, RefusesDirectoryWhosePathIsTooLongForSockets) {
  const std::string longest = "/" + std::string(89, 'x');
  EXPECT_THAT(AdminClient::Connect(longest).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no nodecommd at")));
  EXPECT_THAT(
      AdminClient::Connect(longest + "x").status(),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("x has 91 bytes, of at most 90"), HasSubstr("at most 107"))));
}

TEST(AdminClient, TellsMissingPermissionFromMissingDaemon) {
  EXPECT_THAT(DescribeConnectError("/run/nodecomm", "/run/nodecomm/admin/admin.sock", EACCES, {}),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr("/run/nodecomm/admin/admin.sock"), HasSubstr("as root"))));
  EXPECT_THAT(DescribeConnectError("/run/nodecomm", "/run/nodecomm/admin/admin.sock", EAGAIN, {}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("queue is full")));
  EXPECT_THAT(DescribeConnectError("/x", "/x/admin/admin.sock", EPROTOTYPE, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/x/admin/admin.sock")));
}

TEST(AdminClient, GivesUpOnDaemonThatDoesNotAnswer) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers;
  answers.hang = true;
  const FakeAdmin admin(dir, answers);
  const auto client = AdminClient::Connect(dir.path(), absl::Milliseconds(50));
  ASSERT_OK(client);
  EXPECT_THAT((*client)->GetStatus(),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       AllOf(HasSubstr(dir.socket()), HasSubstr("within 50ms"))));
}

// Accepts connections (the kernel does) and never speaks: no gRPC server at all.
TEST(AdminClient, GivesUpOnSocketThatNobodyServes) {
  const FakeRuntimeDir dir;
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, dir.socket().data(), dir.socket().size());
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(fd.get(), 1), 0);
  const auto client = AdminClient::Connect(dir.path(), absl::Milliseconds(50));
  ASSERT_OK(client);
  EXPECT_THAT((*client)->GetStatus(), StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST(AdminClient, PassesOnTheDaemonsError) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers;
  answers.error = grpc::Status(grpc::StatusCode::INTERNAL, "NVML has died");
  const FakeAdmin admin(dir, answers);
  const auto client = AdminClient::Connect(dir.path());
  ASSERT_OK(client);
  EXPECT_THAT((*client)->GetTopology(),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr(dir.socket()), HasSubstr("NVML has died"))));
}

// A stopping daemon cancels calls; a connection that ends just as a call begins is unknown to gRPC.
TEST(AdminClient, TakesACallThatGrpcEndedForALostConnection) {
  for (const grpc::StatusCode code : {grpc::StatusCode::CANCELLED, grpc::StatusCode::UNKNOWN}) {
    const FakeRuntimeDir dir;
    FakeAdminAnswers answers;
    answers.error = grpc::Status(code, "Stream removed");
    const FakeAdmin admin(dir, answers);
    const auto client = AdminClient::Connect(dir.path());
    ASSERT_OK(client);
    EXPECT_THAT((*client)->GetStatus(),
                StatusIs(absl::StatusCode::kUnavailable,
                         HasSubstr("closed the connection (Stream removed)")));
  }
}

TEST(AdminClient, SuspectsAnotherVersionWhereTheQuestionIsNotKnown) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers;
  answers.error = grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "");
  const FakeAdmin admin(dir, answers);
  const auto client = AdminClient::Connect(dir.path());
  ASSERT_OK(client);
  EXPECT_THAT((*client)->ListPools(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("of an earlier version")));
}

// gRPC has the same code for both.
TEST(AdminClient, TellsAnAnswerThatCannotBeReadFromAnotherVersion) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers;
  answers.status.set_topology_source("/x\xff");
  const FakeAdmin admin(dir, answers);
  const auto client = AdminClient::Connect(dir.path());
  ASSERT_OK(client);
  EXPECT_THAT(
      (*client)->GetStatus(),
      StatusIs(absl::StatusCode::kInternal,
               AllOf(HasSubstr(dir.socket()), HasSubstr("not UTF-8"), Not(HasSubstr("version")))));
}

}  // namespace
}  // namespace nodecomm
