// Users who hold requests that they never finish, as many and as large as they can, take nothing
// from others. Real processes under real user ids. Needs root, to become others.

#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <array>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/config.h"
#include "absl/strings/escaping.h"
#include "nodecomm/v1/control.grpc.pb.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/isolation/other_users.h"
#include "tests/support/daemon_process.h"
#include "tests/support/raw_http2.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

constexpr uid_t kAttacker = 60002;
constexpr uid_t kVictim = 60003;

// Ten times what the daemon lets one of gRPC's servers hold for requests.
constexpr int kConnections = 10;
constexpr int kRequestsPerConnection = 256;
constexpr size_t kRequestBytes = 65'000;
// Once there is no more room, each request takes as long as it is waited for.
constexpr absl::Duration kRequestTimeout = absl::Milliseconds(5);
constexpr absl::Duration kTimeToFill = absl::Seconds(3);

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
// It keeps what was freed for a while: 256 MiB.
constexpr size_t kTakenMax = 512u << 20;
#else
constexpr size_t kTakenMax = 48u << 20;
#endif

size_t ResidentBytes(pid_t pid) {
  std::ifstream statm("/proc/" + std::to_string(pid) + "/statm");
  size_t pages = 0;
  statm >> pages >> pages;
  return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// Connections are made anew where the daemon has given them up, for as long as the process lives.
// Writes to `filled` once there is no more to be had.
void HoldRequests(const std::string& socket_path, int filled) {
  std::vector<std::unique_ptr<RawHttp2>> connections(kConnections);
  const absl::Time told_at = absl::Now() + kTimeToFill;
  bool told = false;
  while (true) {
    for (std::unique_ptr<RawHttp2>& connection : connections) {
      if (connection != nullptr && connection->Flush(absl::Milliseconds(1))) continue;
      connection = std::make_unique<RawHttp2>(socket_path);
      for (int i = 0; i < kRequestsPerConnection && connection->open(); ++i) {
        const uint32_t call = connection->Begin("/nodecomm.v1.Control/AbortGroup");
        connection->SendPart(call, kRequestBytes, kRequestTimeout);
        if (!told && absl::Now() > told_at) told = write(filled, "x", 1) == 1;
      }
    }
    if (!told) told = write(filled, "x", 1) == 1;
  }
}

// The victim: a call that waits all the time, others on a connection that stays and on new ones.
int CallBesideThem(const std::string& dir) {
  const auto connect = [&](int number) {
    grpc::ChannelArguments own;  // or channels would share a connection
    own.SetInt("number", number);
    return v1::Control::NewStub(grpc::CreateCustomChannel("unix:" + dir + "/control.sock",
                                                          grpc::InsecureChannelCredentials(), own));
  };
  TestWorker worker(dir + "/session.sock");
  const auto welcome = worker.Open();
  if (!welcome.ok()) return 1;
  const auto stub = connect(0);
  grpc::Status joined;
  std::thread join([&] {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    context.AddMetadata("nodecomm-session-token", absl::BytesToHexString(welcome->token()));
    v1::JoinGroupRequest request;
    request.set_name("of two");
    request.set_world_size(2);
    request.set_gpu_uuid("GPU-51000000-0000-4000-8000-000000000000");
    request.set_plane_abi(1);
    request.set_timeout_ms(3000);
    v1::JoinGroupResponse response;
    joined = stub->JoinGroup(&context, request, &response);
  });
  int failed = 0;
  const absl::Time end = absl::Now() + absl::Seconds(2);
  for (int i = 1; absl::Now() < end; ++i) {
    for (const bool anew : {false, true}) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
      v1::GetHostResponse response;
      const auto fresh = anew ? connect(i) : nullptr;
      if (!(anew ? fresh : stub)->GetHost(&context, {}, &response).ok()) ++failed;
    }
    absl::SleepFor(absl::Milliseconds(20));
  }
  join.join();
  if (joined.error_code() != grpc::DEADLINE_EXCEEDED) return 2;  // nobody else has joined
  return failed == 0 ? 0 : 3;
}

TEST(HeldRequests, OfOneUserAreBoundedAndLeaveOthersTheirCalls) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become other users";
  auto daemon = DaemonProcess::Start({.program = NODECOMM_DAEMON, .topology = NODECOMM_TOPOLOGY});
  ASSERT_OK(daemon);
  const std::string dir = (*daemon)->runtime_dir();
  LetOthersIn(dir);
  const size_t before = ResidentBytes((*daemon)->pid());
  std::array<int, 2> filled;
  ASSERT_EQ(pipe(filled.data()), 0);
  const pid_t attacker = fork();
  if (attacker == 0) {
    Become(kAttacker);
    HoldRequests(dir + "/control.sock", filled[1]);
  }
  close(filled[1]);
  char byte;
  EXPECT_EQ(read(filled[0], &byte, 1), 1);
  close(filled[0]);
  EXPECT_EQ(RunAs(kVictim, [&] { return CallBesideThem(dir); }), 0);
  // Resident, so it may grow by less than is held.
  const size_t taken = ResidentBytes((*daemon)->pid()) - before;
  RecordProperty("taken_mib", static_cast<int>(taken >> 20));
  EXPECT_LT(taken, kTakenMax);
  kill(attacker, SIGKILL);
  waitpid(attacker, nullptr, 0);
  EXPECT_OK((*daemon)->Stop());
}

}  // namespace
}  // namespace nodecomm
