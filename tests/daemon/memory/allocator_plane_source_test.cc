#include "daemon/memory/allocator_plane_source.h"

#include <signal.h>
#include <sys/socket.h>

#include <array>

#include "absl/strings/numbers.h"
#include "client/base/steady_clock.h"
#include "daemon/memory/allocator_protocol.h"
#include "tests/daemon/memory/plane_source_conformance.h"
#include "tests/support/few_fds.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::unique_ptr<AllocatorPlaneSource> Open(absl::Duration timeout = absl::Seconds(20)) {
  auto source = AllocatorPlaneSource::Open({.program = NODECOMM_FAKE_ALLOCATOR,
                                            .first_answer_timeout = timeout,
                                            .answer_timeout = timeout});
  EXPECT_OK(source);
  return *std::move(source);
}

pid_t ChildOf(PlaneSource& source) {
  const absl::Status status = source.Create("GPU-pid", 2_MiB).status();
  int pid = 0;
  EXPECT_TRUE(absl::SimpleAtoi(status.message(), &pid)) << status;
  return pid;
}

// The child's end of the protocol and the daemon's, against a child that does as it should.
INSTANTIATE_TEST_SUITE_P(FakeAllocator, PlaneSourceConformance,
                         ::testing::Values(PlaneSourceUnderTest{
                             .name = "fake_allocator",
                             .make = [] { return Open(); },
                             .gpu_uuids = [] { return std::vector<std::string>{"GPU-good"}; },
                             .too_many_bytes = ByteCount{(2_MiB).value << 20}}));

TEST(AllocatorPlaneSource, OneChildServesManyCalls) {
  auto source = Open();
  const pid_t child = ChildOf(*source);
  EXPECT_OK(source->Create("GPU-good", 2_MiB));
  EXPECT_EQ(ChildOf(*source), child);
}

class BadChild : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(BadChild, CostsOneCallAndIsReplaced) {
  const auto [gpu, what] = GetParam();
  auto source = Open(gpu == std::string("GPU-hang") ? absl::Seconds(1) : absl::Seconds(20));
  const pid_t first = ChildOf(*source);
  EXPECT_THAT(source->Create(gpu, 2_MiB),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr(what), HasSubstr(NODECOMM_FAKE_ALLOCATOR))));
  EXPECT_NE(kill(first, 0), 0) << "the first child still exists";
  EXPECT_OK(source->Create("GPU-good", 2_MiB));
  EXPECT_NE(ChildOf(*source), first);
}

INSTANTIATE_TEST_SUITE_P(AllocatorPlaneSource, BadChild,
                         ::testing::Values(std::pair{"GPU-crash", "signal 6"},
                                           std::pair{"GPU-exit", "code 3"},
                                           std::pair{"GPU-hang", "did not answer within 1s"},
                                           std::pair{"GPU-garbage", "a record of 7 bytes"},
                                           std::pair{"GPU-other-question", "another question"},
                                           std::pair{"GPU-too-small", "another question"}));

TEST(AllocatorPlaneSource, WantOfADescriptorForAPlaneCostsOneCallAndTheChildStays) {
  auto source = Open();
  const pid_t child = ChildOf(*source);
  absl::Status created;
  {
    const FewFds none;
    created = source->Create("GPU-good", 2_MiB).status();
  }
  EXPECT_THAT(created, StatusIs(absl::StatusCode::kResourceExhausted,
                                "taking a plane from the allocator: Too many open files"));
  EXPECT_OK(source->Create("GPU-good", 2_MiB));
  EXPECT_EQ(ChildOf(*source), child);
}

TEST(AllocatorPlaneSource, ChildThatDiedBetweenCallsCostsNone) {
  auto source = Open();
  const pid_t first = ChildOf(*source);
  ASSERT_EQ(kill(first, SIGKILL), 0);
  // Dead, but not reaped: the source does that.
  siginfo_t info = {};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(first), &info, WEXITED | WNOWAIT), 0);
  EXPECT_OK(source->Create("GPU-good", 2_MiB));
}

TEST(AllocatorPlaneSource, ChildWhoseDriverDoesNotStartIsReplacedByTheNextCall) {
  auto source = Open();
  const pid_t first = ChildOf(*source);
  EXPECT_THAT(source->Create("GPU-no-driver", 2_MiB),
              StatusIs(absl::StatusCode::kUnavailable, "no driver"));
  EXPECT_OK(source->Create("GPU-good", 2_MiB));
  EXPECT_NE(ChildOf(*source), first);
}

TEST(AllocatorPlaneSource, DestructionEndsTheChild) {
  auto source = Open();
  const pid_t child = ChildOf(*source);
  ASSERT_EQ(kill(child, 0), 0);
  source.reset();
  EXPECT_NE(kill(child, 0), 0);
}

TEST(AllocatorPlaneSource, MissingProgramIsNamed) {
  auto source = AllocatorPlaneSource::Open({.program = "/nonexistent/nodecomm-allocator"});
  ASSERT_OK(source);
  EXPECT_THAT(
      (*source)->Create("GPU-good", 2_MiB),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/nonexistent/nodecomm-allocator")));
}

TEST(AllocatorPlaneSource, NameThatIsTooLongIsRefusedAndTheChildStays) {
  auto source = Open();
  const pid_t child = ChildOf(*source);
  EXPECT_THAT(source->Create(std::string(100, 'x'), 2_MiB),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(ChildOf(*source), child);
}

class AllocatorProtocol : public ::testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> pair;
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()), 0);
    daemon_.Reset(pair[0]);
    child_.Reset(pair[1]);
  }
  UniqueFd daemon_;
  UniqueFd child_;
};

TEST_F(AllocatorProtocol, RequestArrivesAsSent) {
  ASSERT_OK(SendAllocatorRequest(daemon_.get(), {.id = 7, .gpu_uuid = "GPU-x", .bytes = 4_MiB}));
  auto request = ReceiveAllocatorRequest(child_.get(), SteadyNow() + absl::Seconds(20));
  ASSERT_OK(request);
  EXPECT_EQ(request->id, 7u);
  EXPECT_EQ(request->gpu_uuid, "GPU-x");
  EXPECT_EQ(request->bytes, 4_MiB);
}

TEST_F(AllocatorProtocol, ErrorArrivesWithCodeAndMessage) {
  AllocatorReply reply;
  reply.id = 8;
  reply.status = absl::ResourceExhaustedError(std::string(1000, 'm'));
  ASSERT_OK(SendAllocatorReply(child_.get(), reply));
  auto received = ReceiveAllocatorReply(daemon_.get(), SteadyNow() + absl::Seconds(20));
  ASSERT_OK(received);
  EXPECT_THAT(received->status,
              StatusIs(absl::StatusCode::kResourceExhausted, std::string(255, 'm')));
}

TEST_F(AllocatorProtocol, SilenceIsADeadlineAndAClosedEndUnavailable) {
  EXPECT_THAT(ReceiveAllocatorReply(daemon_.get(), SteadyNow()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  child_.Reset();
  EXPECT_THAT(ReceiveAllocatorReply(daemon_.get(), SteadyNow() + absl::Seconds(20)),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(SendAllocatorRequest(daemon_.get(), {}), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace nodecomm
