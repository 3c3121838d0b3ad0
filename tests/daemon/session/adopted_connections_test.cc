#include "daemon/session/adopted_connections.h"

#include <sys/socket.h>

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/process/open_fds.h"
#include "daemon/session/foreign_sockets.h"
#include "daemon/session/poller.h"
#include "tests/support/few_fds.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;

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

TEST_F(AdoptedConnectionsTest, RefusalsSayWhatTheUserHasAndWhatAllHave) {
  std::vector<Ends> held;
  for (int i = 0; i < 3; ++i) held.push_back(Add({.pid = 100, .uid = kUser}));
  for (int i = 0; i < 2; ++i) held.push_back(Add({.pid = 100, .uid = kUser + 1}));
  const UniqueFd another = held.front().ours.Duplicate();
  absl::Status no_fd;
  int limit = 0;
  {
    const FewFds few;
    limit = OpenFdsMax();
    no_fd = adopted_->Add(another, {.pid = 100, .uid = kUser});
  }
  EXPECT_THAT(no_fd, StatusIs(absl::StatusCode::kResourceExhausted,
                              absl::StrCat("watching a connection: Too many open files: raise "
                                           "LimitNOFILE (now ",
                                           limit,
                                           ", all in use); uid 60001 has 3 connections, "
                                           "all users have 5")));
  for (int i = 0; i < 7; ++i) held.push_back(Add({.pid = 101, .uid = kUser}));
  EXPECT_THAT(adopted_->Add(another, {.pid = 100, .uid = kUser}),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "uid 60001 has 10 connections already, the most allowed (the limit); "
                       "process 101 has 7 of them; all users have 12"));
}

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
