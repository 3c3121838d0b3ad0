// The host's clock is put right while workers are served.

#include "tests/support/clock_step.h"

#include <poll.h>

#include "daemon/session/runtime_dir.h"
#include "daemon/session/session_server.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

// Without a deadline of ours, which the step would upset.
bool IsClosedWithin(int socket, int ms) {
  pollfd wait = {.fd = socket, .events = POLLIN, .revents = 0};
  return poll(&wait, 1, ms) == 1;
}

TEST(ClockStep, EndsNoSession) {
  TemporaryDirectory parent;
  auto dir = RuntimeDir::Create({.path = parent.path() + "/run"});
  ASSERT_OK(dir);
  auto listeners = (*dir)->Listen();
  ASSERT_OK(listeners);
  auto server = SessionServer::Create({.session_listener = std::move(listeners->session),
                                       .control_listener = std::move(listeners->control),
                                       .admin_listener = std::move(listeners->admin),
                                       .hello_timeout = absl::Seconds(2)});
  ASSERT_OK(server);
  (*server)->Start({});
  // One that has a deadline, and another whose answer says that the first has been accepted.
  TestWorker silent((*dir)->session_socket_path());
  TestWorker open((*dir)->session_socket_path());
  ASSERT_OK(open.Open());
  const absl::Time before = absl::Now();
  clock_step_seconds = 3600;
  ASSERT_GT(absl::Now(), before + absl::Minutes(59)) << "the step has no effect here";
  // Wakes the server, which looks at all deadlines.
  TestWorker third((*dir)->session_socket_path());
  ASSERT_OK(third.SendHello(0, 0));
  ASSERT_TRUE(IsClosedWithin(third.fd(), 20'000)) << "no answer";
  EXPECT_FALSE(IsClosedWithin(silent.fd(), 300));
  EXPECT_TRUE(IsClosedWithin(silent.fd(), 20'000)) << "its deadline has not passed at all";
  clock_step_seconds = 0;
}

}  // namespace
}  // namespace nodecomm
