#include "daemon/session/adopted_connections.h"

#include <sys/socket.h>

#include <array>
#include <memory>
#include <utility>

#include "daemon/session/foreign_sockets.h"
#include "daemon/session/poller.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

constexpr uid_t kUser = 60001;

class AdoptedConnectionsTest : public testing::Test {
 protected:
  struct Ends {
    UniqueFd theirs;
    UniqueFd ours;
  };

  void SetUp() override {
    auto poller = Poller::Create();
    ASSERT_OK(poller);
    poller_ = std::make_unique<Poller>(*std::move(poller));
    auto foreign = ForeignSockets::Create();
    ASSERT_OK(foreign);
    foreign_ = *std::move(foreign);
    adopted_ = std::make_unique<AdoptedConnections>(
        poller_.get(), foreign_.get(), 0,
        AdoptedConnections::Limit{.per_uid_max = 10, .name = "the limit"});
  }

  Ends Add(const PeerCredentials& peer) {
    std::array<int, 2> ends;
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    Ends added = {.theirs = UniqueFd(ends[0]), .ours = UniqueFd(ends[1])};
    EXPECT_OK(adopted_->Add(added.ours, peer));
    return added;
  }
  static bool IsShutDown(const Ends& ends) {
    char byte;
    return recv(ends.ours.get(), &byte, 1, MSG_DONTWAIT) == 0;
  }

  std::unique_ptr<Poller> poller_;
  std::unique_ptr<ForeignSockets> foreign_;
  std::unique_ptr<AdoptedConnections> adopted_;
};

TEST_F(AdoptedConnectionsTest, ThoseOfAProcessThatEndedAreShutDownAndNoOthers) {
  const Ends ended = Add({.pid = 100, .uid = kUser});
  const Ends also_ended = Add({.pid = 100, .uid = kUser});
  const Ends of_another = Add({.pid = 101, .uid = kUser});
  const Ends of_another_user = Add({.pid = 100, .uid = kUser + 1});
  adopted_->ProcessEnded({.pid = 100, .uid = kUser});
  EXPECT_TRUE(IsShutDown(ended));
  EXPECT_TRUE(IsShutDown(also_ended));
  EXPECT_FALSE(IsShutDown(of_another));
  EXPECT_FALSE(IsShutDown(of_another_user));
}

// Of processes whose ids are hidden from the daemon, all seem to have the same.
TEST_F(AdoptedConnectionsTest, HiddenProcessThatEndedTakesNoConnectionsOfOthers) {
  const Ends of_another = Add({.pid = 0, .uid = kUser});
  adopted_->ProcessEnded({.pid = 0, .uid = kUser});
  EXPECT_FALSE(IsShutDown(of_another));
}

}  // namespace
}  // namespace nodecomm
