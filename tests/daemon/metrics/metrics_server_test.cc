// The metrics over HTTP: who asks is answered at once, whoever else is connected and says nothing.
#include "daemon/metrics/metrics_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/metrics/http_text.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int kManyIdle = 40;
// Far more than an answer takes, far less than the 5 s that a connection has.
constexpr absl::Duration kPrompt = absl::Seconds(2);

UniqueFd Connect(int port) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience = {.tv_sec = 30, .tv_usec = 0};
  EXPECT_EQ(setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  return socket;
}

void Send(const UniqueFd& socket, std::string_view text) {
  EXPECT_EQ(send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(text.size()));
}

// Until the server closes.
std::string ReceiveAll(const UniqueFd& socket) {
  std::string answer;
  std::array<char, 4096> part;
  ssize_t length;
  while ((length = recv(socket.get(), part.data(), part.size(), 0)) > 0) {
    answer.append(part.data(), static_cast<size_t>(length));
  }
  EXPECT_EQ(length, 0) << "the server does not close";
  return answer;
}

std::string Get(int port, const std::string& path) {
  const UniqueFd socket = Connect(port);
  Send(socket, absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  return ReceiveAll(socket);
}

std::unique_ptr<MetricsServer> StartServer(absl::Duration timeout = absl::Seconds(5)) {
  absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Start(
      {.port = 0, .expose = [] { return "nodecomm_ready 1\n"; }, .timeout = timeout});
  EXPECT_OK(server);
  return *std::move(server);
}

std::vector<UniqueFd> ConnectIdle(int port, int count) {
  std::vector<UniqueFd> idle;
  for (int i = 0; i < count; ++i) idle.push_back(Connect(port));
  return idle;
}

TEST(MetricsServer, AnswersWithTheTextOfTheMoment) {
  int reads = 0;
  const auto server = MetricsServer::Start(
      {.port = 0, .expose = [&] { return absl::StrCat("reads ", ++reads, "\n"); }});
  ASSERT_OK(server);
  EXPECT_THAT(Get((*server)->port(), "/metrics"),
              AllOf(StartsWith("HTTP/1.1 200 OK\r\n"),
                    HasSubstr("Content-Type: text/plain; version=0.0.4"), EndsWith("\nreads 1\n")));
  EXPECT_THAT(Get((*server)->port(), "/metrics?name=x"), EndsWith("\nreads 2\n"));
  EXPECT_THAT(Get((*server)->port(), "/etc/passwd"), StartsWith("HTTP/1.1 404"));
}

TEST(MetricsServer, IdleConnectionsDelayNobody) {
  const std::unique_ptr<MetricsServer> server = StartServer();
  const std::vector<UniqueFd> idle = ConnectIdle(server->port(), kManyIdle);
  const absl::Time begin = absl::Now();
  EXPECT_THAT(Get(server->port(), "/metrics"), StartsWith("HTTP/1.1 200"));
  EXPECT_LT(absl::Now() - begin, kPrompt);
}

TEST(MetricsServer, MoreIdleConnectionsThanItTakesKeepNobodyOut) {
  const std::unique_ptr<MetricsServer> server = StartServer(absl::Hours(1));
  const std::vector<UniqueFd> idle =
      ConnectIdle(server->port(), static_cast<int>(MetricsServer::kConnectionsMax) + 10);
  EXPECT_THAT(Get(server->port(), "/metrics"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(ReceiveAll(idle.front()), "");  // the oldest had to go
}

TEST(MetricsServer, IdleConnectionsHoldUpNoEnd) {
  std::unique_ptr<MetricsServer> server = StartServer(absl::Hours(1));
  EXPECT_THAT(Get(server->port(), "/metrics"), StartsWith("HTTP/1.1 200"));
  const std::vector<UniqueFd> idle = ConnectIdle(server->port(), kManyIdle);
  Send(idle.front(), "GET /met");
  const absl::Time begin = absl::Now();
  server.reset();
  EXPECT_LT(absl::Now() - begin, kPrompt);
}

TEST(MetricsServer, WhoIsSlowIsCutOff) {
  const std::unique_ptr<MetricsServer> server = StartServer(absl::Milliseconds(50));
  const UniqueFd slow = Connect(server->port());
  Send(slow, "GET /met");
  EXPECT_EQ(ReceiveAll(slow), "");
}

TEST(MetricsServer, ReadersThatReadLateGetLongAnswersWhole) {
  const std::string text(8 << 20, 'x');  // more than sockets hold
  const auto server = MetricsServer::Start(
      {.port = 0, .expose = [&] { return std::string(text); }, .timeout = absl::Seconds(60)});
  ASSERT_OK(server);
  const UniqueFd late = Connect((*server)->port());
  Send(late, "GET /metrics HTTP/1.0\r\n\r\nand more, which nobody asked for");
  // Answered beside it.
  EXPECT_THAT(Get((*server)->port(), "/"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(ReceiveAll(late), EndsWith(text));
}

TEST(MetricsServer, PortThatIsTakenIsAnErrorThatNamesIt) {
  const std::unique_ptr<MetricsServer> first = StartServer();
  EXPECT_THAT(MetricsServer::Start({.port = first->port(), .expose = [] { return ""; }}),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("metrics.port"), HasSubstr(absl::StrCat(first->port())),
                             HasSubstr("(metrics.port): Address already in use; "))));
}

TEST(MetricsServer, PortThatIsForRootOnlyIsAnErrorThatSaysSo) {
  int first_free = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first_free;
  if (first_free <= 80) GTEST_SKIP() << "anybody may have port 80 here";
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become one who may not";
  ASSERT_EQ(seteuid(65534), 0);
  const auto server = MetricsServer::Start({.port = 80, .expose = [] { return std::string(); }});
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_THAT(server, StatusIs(absl::StatusCode::kUnavailable,
                               HasSubstr("Permission denied; ports below "
                                         "net.ipv4.ip_unprivileged_port_start (1024) are for")));
}

TEST(HttpText, WhatIsNoRequestForTheMetricsIsRefusedWithTheReason) {
  const auto never = []() -> std::string {
    ADD_FAILURE() << "nobody asked for metrics";
    return "";
  };
  EXPECT_FALSE(IsHttpRequest("GET /metrics HTTP/1.1\r\nHost: x\r\n"));
  EXPECT_TRUE(IsHttpRequest("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_THAT(AnswerHttp("POST /metrics HTTP/1.1\r\n\r\n", never), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(AnswerHttp("GET /metricsx HTTP/1.1\r\n\r\n", never), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(AnswerHttp("\x16\x03\x01\r\n\r\n", never), StartsWith("HTTP/1.1 400"));
  const std::string endless(kHttpRequestBytesMax + 1, 'a');
  EXPECT_TRUE(IsHttpRequest(endless));
  EXPECT_THAT(AnswerHttp(endless, never), StartsWith("HTTP/1.1 431"));
}

}  // namespace
}  // namespace nodecomm
