// Ten thousand connections (at once, as far as descriptors go), a thousand sessions and two hundred
// groups at once, of one process: the daemon serves them, and is as it was when they have gone.
// Prints what it took; a test of behaviour all the same, not a benchmark.

#include <grpcpp/grpcpp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <future>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nodecomm/v1/admin.grpc.pb.h"
#include "nodecomm/v1/control.grpc.pb.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/support/daemon_process.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

constexpr int kConnections = 10'000;
constexpr int kSessions = 1000;
constexpr int kGroups = 200;

constexpr char kConfig[] = R"(
  limits {
    sessions_max: 2000 sessions_per_uid_max: 2000 control_connections_per_uid_max: 11000
    groups_max: 400 groups_per_uid_max: 400
    connections_per_uid_per_second: 100000 calls_per_uid_per_second: 100000
  }
  pool { plane_bytes: 2097152 }
)";

class Load : public testing::Test {
 protected:
  void SetUp() override {
    rlimit files = {};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    // The daemon has two descriptors for each connection, and three for each session; it lets
    // workers take three quarters of its own.
    const auto spare = static_cast<int64_t>(files.rlim_max) / 4 * 3 - 4 * kSessions - 20 * kGroups;
    at_once_ = static_cast<size_t>(std::min<int64_t>(kConnections, spare / 2));
    ASSERT_GT(spare, 2000) << "too few descriptors to test anything";
    auto daemon = DaemonProcess::Start(
        {.program = NODECOMM_DAEMON, .topology = NODECOMM_TOPOLOGY, .config = kConfig});
    ASSERT_OK(daemon);
    daemon_ = *std::move(daemon);
    admin_ = v1::Admin::NewStub(grpc::CreateChannel("unix:" + dir() + "/admin/admin.sock",
                                                    grpc::InsecureChannelCredentials()));
    control_ = v1::Control::NewStub(
        grpc::CreateChannel("unix:" + dir() + "/control.sock", grpc::InsecureChannelCredentials()));
  }

  std::string dir() const { return daemon_->runtime_dir(); }

  v1::GetStatusResponse Status() {
    grpc::ClientContext context;
    v1::GetStatusResponse status;
    EXPECT_TRUE(admin_->GetStatus(&context, {}, &status).ok());
    return status;
  }
  // Megabytes that the daemon has resident.
  double Rss() {
    std::ifstream statm(absl::StrCat("/proc/", Status().pid(), "/statm"));
    size_t total = 0;
    size_t resident = 0;
    statm >> total >> resident;
    return static_cast<double>(resident) * 4096 / 1e6;
  }
  void Say(const std::string& what, int count, absl::Time since) {
    const double ms = absl::ToDoubleMilliseconds(absl::Now() - since);
    std::printf("%d %s in %.0f ms, %.3f ms each; the daemon has %.1f MB\n", count, what.c_str(), ms,
                ms / count, Rss());
  }

  size_t at_once_ = 0;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<v1::Admin::Stub> admin_;
  std::unique_ptr<v1::Control::Stub> control_;
};

TEST_F(Load, IsServedAndLeavesNothing) {
  std::printf("at the start the daemon has %.1f MB\n", Rss());
  absl::Time start = absl::Now();
  std::vector<UniqueFd> connections;
  int made = 0;
  while (made < kConnections || connections.size() < at_once_) {
    if (connections.size() == at_once_) connections.erase(connections.begin());
    UniqueFd connection = ConnectTo(dir() + "/control.sock", SOCK_STREAM);
    // The queue of those that wait to be accepted may be full.
    if (!connection.valid()) continue;
    connections.push_back(std::move(connection));
    ++made;
  }
  Say(absl::StrCat("connections on control.sock, ", at_once_, " at once"), made, start);

  start = absl::Now();
  std::vector<std::unique_ptr<TestWorker>> workers;
  std::vector<v1::SessionWelcome> welcomes;
  for (int i = 0; i < kSessions; ++i) {
    // Connections that were closed count until the daemon has seen it, and those before are many.
    ASSERT_TRUE(Eventually([&] {
      auto worker = std::make_unique<TestWorker>(dir() + "/session.sock");
      const auto welcome = worker->Open();
      if (!welcome.ok()) return false;
      workers.push_back(std::move(worker));
      welcomes.push_back(*welcome);
      return true;
    })) << i;
  }
  Say("sessions at once", kSessions, start);
  EXPECT_EQ(Status().sessions(), kSessions);

  start = absl::Now();
  for (int i = 0; i < kGroups; ++i) {
    v1::JoinGroupRequest join;
    join.set_name(absl::StrCat("group-", i));
    join.set_world_size(1);
    join.set_gpu_uuid(absl::StrCat("GPU-51000000-0000-4000-8000-00000000000", i % 4));
    join.set_plane_abi(1);
    const auto call = [&](auto method, const auto& request, auto* response) {
      grpc::ClientContext context;
      context.AddMetadata("nodecomm-session-token", absl::BytesToHexString(welcomes[i].token()));
      return (control_.get()->*method)(&context, request, response).error_code();
    };
    v1::JoinGroupResponse group;
    ASSERT_EQ(call(&v1::Control::Stub::JoinGroup, join, &group), grpc::OK) << i;
    auto transfer = workers[static_cast<size_t>(i)]->Receive();
    ASSERT_OK(transfer);
    ASSERT_OK(workers[static_cast<size_t>(i)]->Ack(transfer->transfer_id));
    v1::ConfirmGroupRequest confirm;
    confirm.set_generation(group.generation());
    v1::ConfirmGroupResponse confirmed;
    ASSERT_EQ(call(&v1::Control::Stub::ConfirmGroup, confirm, &confirmed), grpc::OK);
  }
  Say("groups at once", kGroups, start);
  EXPECT_EQ(Status().groups_ready(), kGroups);

  start = absl::Now();
  workers.clear();
  connections.clear();
  EXPECT_TRUE(Eventually([&] {
    const v1::GetStatusResponse status = Status();
    return status.sessions() == 0 && status.groups_ready() == 0;
  }));
  Say("ends", static_cast<int>(at_once_) + kSessions, start);
  EXPECT_OK(daemon_->Stop());
}

}  // namespace
}  // namespace nodecomm
