#include "daemon/session/foreign_sockets.h"

#include <sys/socket.h>

#include <array>

#include "tests/daemon/session/hostile_fds.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

constexpr uid_t kUser = 60001;

class ForeignSocketsTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    auto foreign = ForeignSockets::Create();
    ASSERT_OK(foreign);
    foreign_ = *std::move(foreign);
    std::array<int, 2> ends;
    ASSERT_EQ(socketpair(AF_UNIX, GetParam() | SOCK_CLOEXEC, 0, ends.data()), 0);
    theirs_.Reset(ends[0]);
    ours_.Reset(ends[1]);
  }
  bool PeerHears() {
    char byte;
    return recv(theirs_.get(), &byte, 1, 0) <= 0;
  }

  std::unique_ptr<ForeignSockets> foreign_;
  UniqueFd theirs_;
  UniqueFd ours_;
};

INSTANTIATE_TEST_SUITE_P(Of, ForeignSocketsTest, testing::Values(SOCK_STREAM, SOCK_SEQPACKET));

TEST_P(ForeignSocketsTest, QuietSocketIsClosedAtOnce) {
  ASSERT_EQ(send(theirs_.get(), "hello", 5, 0), 5);
  foreign_->Close(std::move(ours_), kUser);
  EXPECT_EQ(foreign_->count(), 0);
  EXPECT_TRUE(PeerHears());
}

// Also behind bytes, and behind messages that look like the end.
TEST_P(ForeignSocketsTest, SocketThatHoldsALingeringOneIsClosedBehindTheScenesAndCounted) {
  auto lingering = std::make_unique<LingeringSocket>();
  for (int i = 0; i < 3; ++i) send(theirs_.get(), "", 0, 0);
  ASSERT_EQ(send(theirs_.get(), "hello", 5, 0), 5);
  ASSERT_TRUE(SendFd(theirs_.get(), lingering->fd()));
  lingering->CloseOwn();
  const absl::Time start = absl::Now();
  foreign_->Close(std::move(ours_), kUser);
  EXPECT_LT(absl::Now() - start, absl::Seconds(1));
  EXPECT_TRUE(PeerHears());
  EXPECT_EQ(foreign_->count(), 1);
  EXPECT_EQ(foreign_->CountOf(kUser), 1);
  EXPECT_EQ(foreign_->CountOf(kUser + 1), 0);
  lingering = nullptr;
  EXPECT_TRUE(Eventually([&] { return foreign_->count() == 0; }));
}

// As many as look like the end, of those that a queue can hold where an administrator allows more.
TEST_P(ForeignSocketsTest, ThousandsOfEmptyMessagesHideNoLingeringSocket) {
  const int bytes = 8 << 20;
  if (setsockopt(theirs_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0) {
    GTEST_SKIP() << "only root may have so long a queue";
  }
  LingeringSocket lingering;
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(send(theirs_.get(), "", 0, MSG_DONTWAIT), 0);
  ASSERT_EQ(send(theirs_.get(), "hello", 5, 0), 5);
  ASSERT_TRUE(SendFd(theirs_.get(), lingering.fd()));
  lingering.CloseOwn();
  foreign_->Close(std::move(ours_), kUser);
  EXPECT_EQ(foreign_->count(), 1);
}

TEST_P(ForeignSocketsTest, EndIsBoundedThoughASocketLingers) {
  LingeringSocket lingering;
  ASSERT_TRUE(SendFd(theirs_.get(), lingering.fd()));
  lingering.CloseOwn();
  foreign_->Close(std::move(ours_), kUser);
  const absl::Time start = absl::Now();
  foreign_ = nullptr;
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

}  // namespace
}  // namespace nodecomm
