#include "proto/framing.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <limits>

#include "tests/support/few_fds.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

// The header as it is on the wire: written out again here, so that a change of it does not go
// unnoticed.
struct WireHeader {
  uint32_t magic = 0x6d63646e;
  uint16_t version = 1;
  uint16_t type = 4;
  uint64_t transfer_id = 0;
  uint32_t payload_bytes = 0;
  uint32_t fd_count = 0;
};
static_assert(sizeof(WireHeader) == 24);

int CountOpenFds() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

UniqueFd OpenNull() { return UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

class FramingTest : public testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> pair;
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()),
              0);
    left_.Reset(pair[0]);
    right_.Reset(pair[1]);
  }

  // Sends whatever bytes and fds, checked by nobody.
  void SendRaw(std::string_view bytes, int fd_count = 0) {
    const UniqueFd null = OpenNull();
    const std::vector<int> fds(static_cast<size_t>(fd_count), null.get());
    iovec part = {const_cast<char*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 253)> control = {};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (fd_count > 0) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
      cmsghdr* rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
      std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
    }
    ASSERT_EQ(sendmsg(left_.get(), &message, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }

  void SendRaw(const WireHeader& header, std::string_view payload = "", int fd_count = 0) {
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
    bytes += payload;
    SendRaw(bytes, fd_count);
  }

  UniqueFd left_;
  UniqueFd right_;
};

TEST_F(FramingTest, FrameArrivesWhole) {
  const UniqueFd null = OpenNull();
  const std::array<int, 2> fds = {null.get(), left_.get()};
  ASSERT_OK(SendFrame(left_.get(), {.type = FrameType::kTransfer,
                                    .transfer_id = std::numeric_limits<uint64_t>::max(),
                                    .payload = "hello",
                                    .fds = fds}));
  const auto frame = ReceiveFrame(right_.get());
  ASSERT_OK(frame);
  ASSERT_TRUE(frame->has_value());
  EXPECT_EQ((*frame)->type, FrameType::kTransfer);
  EXPECT_EQ((*frame)->transfer_id, std::numeric_limits<uint64_t>::max());
  EXPECT_EQ((*frame)->payload, "hello");
  ASSERT_EQ((*frame)->fds.size(), 2u);
  struct stat sent, received;
  ASSERT_EQ(fstat(left_.get(), &sent), 0);
  ASSERT_EQ(fstat((*frame)->fds[1].get(), &received), 0);
  EXPECT_EQ(sent.st_ino, received.st_ino);
  for (const UniqueFd& fd : (*frame)->fds) {
    EXPECT_NE(fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
}

TEST_F(FramingTest, FramesKeepTheirOrderAndBounds) {
  for (uint64_t i = 0; i < 5; ++i) {
    ASSERT_OK(SendFrame(left_.get(), {.type = FrameType::kTransferAck,
                                      .transfer_id = i,
                                      .payload = std::string(i, 'x'),
                                      .fds = {}}));
  }
  for (uint64_t i = 0; i < 5; ++i) {
    const auto frame = ReceiveFrame(right_.get());
    ASSERT_OK(frame);
    ASSERT_TRUE(frame->has_value());
    EXPECT_EQ((*frame)->transfer_id, i);
    EXPECT_EQ((*frame)->payload.size(), i);
  }
}

TEST_F(FramingTest, LargestFrameIsTaken) {
  const UniqueFd null = OpenNull();
  const std::vector<int> fds(kFrameFdsMax, null.get());
  const std::string payload(kFramePayloadBytesMax, 'p');
  ASSERT_OK(
      SendFrame(left_.get(),
                {.type = FrameType::kTransfer, .transfer_id = 1, .payload = payload, .fds = fds}));
  const auto frame = ReceiveFrame(right_.get());
  ASSERT_OK(frame);
  EXPECT_EQ((*frame)->payload, payload);
  EXPECT_EQ((*frame)->fds.size(), kFrameFdsMax);
}

TEST_F(FramingTest, SenderKeepsTheBounds) {
  const std::string payload(kFramePayloadBytesMax + 1, 'p');
  EXPECT_THAT(SendFrame(left_.get(), {.type = FrameType::kHello, .payload = payload, .fds = {}}),
              StatusIs(kInvalid));
  const std::vector<int> fds(kFrameFdsMax + 1, left_.get());
  EXPECT_THAT(SendFrame(left_.get(), {.type = FrameType::kTransfer, .payload = "", .fds = fds}),
              StatusIs(kInvalid));
  const auto nothing = ReceiveFrame(right_.get());
  ASSERT_OK(nothing);
  EXPECT_FALSE(nothing->has_value());
}

TEST_F(FramingTest, NothingHasCome) {
  const auto frame = ReceiveFrame(right_.get());
  ASSERT_OK(frame);
  EXPECT_FALSE(frame->has_value());
}

TEST_F(FramingTest, PeerHasClosed) {
  left_.Reset();
  EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(SendFrame(right_.get(), {.type = FrameType::kHello, .payload = "", .fds = {}}),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(FramingTest, FullSocketIsSaidSo) {
  const std::string payload(kFramePayloadBytesMax, 'p');
  absl::Status status;
  for (int i = 0; i < 10'000 && status.ok(); ++i) {
    status = SendFrame(left_.get(), {.type = FrameType::kHello, .payload = payload, .fds = {}});
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
  // One frame less in the socket, and there is room again: nothing of the refused one was sent.
  ASSERT_OK(ReceiveFrame(right_.get()));
  EXPECT_OK(SendFrame(left_.get(), {.type = FrameType::kHello, .payload = payload, .fds = {}}));
}

TEST_F(FramingTest, ShortMessageIsNoFrame) {
  SendRaw("abc");
  EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(kInvalid, "not a frame of nodecomm"));
  const WireHeader header;
  SendRaw(std::string_view(reinterpret_cast<const char*>(&header), sizeof(header) - 1));
  EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(kInvalid, "not a frame of nodecomm"));
}

TEST_F(FramingTest, ForeignMagicIsNoFrame) {
  SendRaw(WireHeader{.magic = 0x20544547});
  EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(kInvalid, "not a frame of nodecomm"));
}

TEST_F(FramingTest, OtherFramingVersionIsNamed) {
  SendRaw(WireHeader{.version = 2});
  EXPECT_THAT(ReceiveFrame(right_.get()),
              StatusIs(kInvalid, HasSubstr("framing version 2, expected 1")));
}

TEST_F(FramingTest, UnknownTypesAreErrors) {
  for (const uint16_t type : {0, 7, 65535}) {
    SendRaw(WireHeader{.type = type});
    EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(kInvalid, HasSubstr("unknown frame type")));
  }
}

TEST_F(FramingTest, LengthMustBeTrue) {
  for (const uint32_t said : {0u, 2u, 4u, 4096u, 4097u, 0xffffffffu}) {
    SendRaw(WireHeader{.payload_bytes = said}, "abc");
    EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(kInvalid, HasSubstr("but holds 3")));
  }
}

TEST_F(FramingTest, FdCountMustBeTrueAndFdsAreClosed) {
  const int before = CountOpenFds();
  for (const uint32_t said : {0u, 1u, 3u, 0xffffffffu}) {
    SendRaw(WireHeader{.fd_count = said}, "", 2);
    EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(kInvalid, HasSubstr("fds, but holds")));
  }
  EXPECT_EQ(CountOpenFds(), before);
}

TEST_F(FramingTest, SurplusFdsAreAnErrorAndClosed) {
  const int before = CountOpenFds();
  for (const int count : {static_cast<int>(kFrameFdsMax) + 1, 100, 253}) {
    SendRaw(WireHeader{.fd_count = static_cast<uint32_t>(count)}, "", count);
    EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(kInvalid)) << count;
    EXPECT_EQ(CountOpenFds(), before) << count;
  }
}

// That is no fault of the sender's.
TEST_F(FramingTest, FrameIsTakenWithoutItsFdsWhereThereIsNoRoomForAll) {
  for (const int left : {0, 1, 2}) {
    SendRaw(WireHeader{.transfer_id = 7, .payload_bytes = 3, .fd_count = 3}, "abc", 3);
    const int before = CountOpenFds();
    absl::StatusOr<std::optional<Frame>> frame;
    {
      const FewFds few(static_cast<rlim_t>(left));
      frame = ReceiveFrame(right_.get());
    }
    ASSERT_OK(frame);
    EXPECT_TRUE((*frame)->fds_lost);
    EXPECT_TRUE((*frame)->fds.empty());
    EXPECT_EQ((*frame)->transfer_id, 7u);
    EXPECT_EQ((*frame)->payload, "abc");
    EXPECT_EQ(CountOpenFds(), before) << "those that came are closed";
  }
}

TEST_F(FramingTest, SurplusFdsAreAnErrorAlsoWhereThereIsNoRoomForAny) {
  const int before = CountOpenFds();
  SendRaw(WireHeader{.fd_count = kFrameFdsMax + 1}, "", kFrameFdsMax + 1);
  absl::StatusOr<std::optional<Frame>> frame;
  {
    const FewFds few;
    frame = ReceiveFrame(right_.get());
  }
  EXPECT_THAT(frame, StatusIs(kInvalid));
  EXPECT_EQ(CountOpenFds(), before);
}

TEST_F(FramingTest, SurplusFdsThatTheHeaderHidesAreAnError) {
  const int before = CountOpenFds();
  SendRaw(WireHeader{.fd_count = kFrameFdsMax}, "", kFrameFdsMax + 1);
  EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(kInvalid));
  EXPECT_EQ(CountOpenFds(), before);
}

TEST_F(FramingTest, FdsOfGarbageAreClosed) {
  const int before = CountOpenFds();
  SendRaw("garbage", 5);
  EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(kInvalid));
  EXPECT_EQ(CountOpenFds(), before);
}

TEST_F(FramingTest, TooLongMessageIsAnErrorAndItsFdsAreClosed) {
  const int before = CountOpenFds();
  SendRaw(WireHeader{.payload_bytes = kFramePayloadBytesMax + 1, .fd_count = 1},
          std::string(kFramePayloadBytesMax + 1, 'x'), 1);
  EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(kInvalid, HasSubstr("longer")));
  EXPECT_EQ(CountOpenFds(), before);
}

TEST_F(FramingTest, UnexpectedFdsAreNotTaken) {
  const int before = CountOpenFds();
  SendRaw(WireHeader{.transfer_id = 7});
  SendRaw(WireHeader{.fd_count = 1}, "", 1);
  const auto frame = ReceiveFrameWithoutFds(right_.get());
  ASSERT_OK(frame);
  EXPECT_EQ((*frame)->transfer_id, 7u);
  for (int i = 0; i < 2; ++i) {
    absl::StatusOr<std::optional<Frame>> refused;
    {
      const FewFds few(i == 0 ? 0 : 100);
      refused = ReceiveFrameWithoutFds(right_.get());
    }
    EXPECT_THAT(refused, StatusIs(kInvalid, HasSubstr("carries fds")));
  }
  EXPECT_EQ(CountOpenFds(), before);
  EXPECT_OK(ReceiveFrame(right_.get())) << "it stayed where it was";
}

TEST_F(FramingTest, GoodFrameIsTakenAfterABadOne) {
  SendRaw("garbage");
  SendRaw(WireHeader{.transfer_id = 7});
  EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(kInvalid));
  const auto frame = ReceiveFrame(right_.get());
  ASSERT_OK(frame);
  EXPECT_EQ((*frame)->transfer_id, 7u);
}

TEST_F(FramingTest, EmptyMessageEndsTheConnection) {
  SendRaw("");
  EXPECT_THAT(ReceiveFrame(right_.get()), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace nodecomm
