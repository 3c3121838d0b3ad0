// A user who opens and resets calls as fast as it can ("rapid reset") is cut off before it takes
// the daemon's processors and memory from others. Needs root, to become others.

#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "nodecomm/v1/control.grpc.pb.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/isolation/other_users.h"
#include "tests/support/daemon_process.h"
#include "tests/support/raw_http2.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

constexpr uid_t kVictim = 60003;

int CallHost(const std::string& dir) {
  const auto stub = v1::Control::NewStub(
      grpc::CreateChannel("unix:" + dir + "/control.sock", grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  v1::GetHostResponse response;
  return stub->GetHost(&context, {}, &response).ok() ? 0 : 1;
}

// Until none of its connections is open.
int ResetUntilCutOff(const std::string& dir, std::string_view method, int connections) {
  constexpr int kCallsAtOnce = 100;
  std::vector<std::unique_ptr<RawHttp2>> all;
  for (int i = 0; i < connections; ++i) {
    all.push_back(std::make_unique<RawHttp2>(dir + "/control.sock"));
    if (!all.back()->Flush(absl::Seconds(5))) return 1;
  }
  TestWorker worker(dir + "/session.sock");
  if (!worker.Open().ok()) return 2;
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (!all.empty()) {
    if (absl::Now() > deadline) return 3;
    for (auto& connection : all) {
      for (int i = 0; i < kCallsAtOnce; ++i) connection->Reset(connection->Begin(method));
      connection->Flush(absl::Milliseconds(10));
    }
    std::erase_if(all, [](const auto& connection) { return !connection->open(); });
  }
  // Nor is another taken at once; its session has not ended.
  RawHttp2 another(dir + "/control.sock");
  another.Flush(absl::Seconds(1));
  char byte;
  if (!Eventually([&] { return !another.Flush(absl::Milliseconds(10)) && !another.open(); }))
    return 4;
  return recv(worker.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 ? 0 : 5;
}

TEST(ResetCalls, HaveTheirUserCutOffAndLeaveOthersTheirCalls) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become other users";
  auto daemon = DaemonProcess::Start({.program = NODECOMM_DAEMON, .topology = NODECOMM_TOPOLOGY});
  ASSERT_OK(daemon);
  const std::string dir = (*daemon)->runtime_dir();
  LetOthersIn(dir);
  uid_t attacker = 60010;
  for (const char* method : {"/nodecomm.v1.Control/GetHost", "/grpc.health.v1.Health/Check",
                             "/grpc.health.v1.Health/Watch", "/no.Service/Method"}) {
    for (const int connections : {1, 32}) {
      EXPECT_EQ(RunAs(attacker++, [&] { return ResetUntilCutOff(dir, method, connections); }), 0)
          << method << " on " << connections;
      EXPECT_EQ(RunAs(kVictim, [&] { return CallHost(dir); }), 0) << "beside " << method;
    }
  }
  EXPECT_OK((*daemon)->Stop());
}

}  // namespace
}  // namespace nodecomm
