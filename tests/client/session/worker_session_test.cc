#include "client/session/worker_session.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/base/steady_clock.h"
#include "client/base/version.h"
#include "proto/liveness_page.h"
#include "tests/client/session/fake_session_daemon.h"
#include "tests/support/few_fds.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr absl::Duration kLongEnough = absl::Seconds(20);

SteadyTime Soon() { return SteadyNow() + kLongEnough; }

// Both ends of a session's socket. What the daemon is to say first is sent before the worker's end
// is used.
struct Ends {
  Ends() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    daemon.Reset(fds[0]);
    worker.Reset(fds[1]);
  }

  void Send(FrameType type, std::string_view payload, uint64_t transfer_id = 0,
            const std::vector<int>& fds = {}) {
    ASSERT_OK(SendFrame(
        daemon.get(), {.type = type, .transfer_id = transfer_id, .payload = payload, .fds = fds}));
  }

  // The next frame that the worker sends.
  absl::StatusOr<std::optional<Frame>> Receive() {
    pollfd watched = {.fd = daemon.get(), .events = POLLIN, .revents = 0};
    if (poll(&watched, 1, static_cast<int>(absl::ToInt64Milliseconds(kLongEnough))) != 1) {
      return absl::DeadlineExceededError("the worker says nothing");
    }
    return ReceiveFrame(daemon.get());
  }

  absl::StatusOr<WorkerSession::Owner> Handshake(absl::Duration timeout = kLongEnough) {
    return WorkerSession::Handshake(std::move(worker), "nodecommd at test", timeout);
  }

  WorkerSession::Owner Open() {
    Send(FrameType::kWelcome, WelcomePayload());
    absl::StatusOr<WorkerSession::Owner> session = Handshake();
    EXPECT_OK(session);
    EXPECT_OK(Receive());  // the hello
    return *std::move(session);
  }

  UniqueFd daemon;
  UniqueFd worker;
};

std::string Refusal(int major, int minor, const std::string& reason) {
  v1::SessionRefusal refusal;
  refusal.set_reason(reason);
  refusal.mutable_version()->set_major(major);
  refusal.mutable_version()->set_minor(minor);
  return refusal.SerializeAsString();
}

UniqueFd MakeMemory() { return UniqueFd(memfd_create("test", MFD_CLOEXEC)); }

ino_t Inode(const UniqueFd& fd) {
  struct stat file = {};
  EXPECT_EQ(fstat(fd.get(), &file), 0);
  return file.st_ino;
}

TEST(WorkerSession, SendsItsVersionAndKeepsTheWelcome) {
  Ends ends;
  ends.Send(FrameType::kWelcome, WelcomePayload());
  const absl::StatusOr<WorkerSession::Owner> session = ends.Handshake();
  ASSERT_OK(session);
  EXPECT_EQ((*session)->welcome().token(), std::string(32, '\xab'));
  EXPECT_EQ((*session)->welcome().platform(), v1::PLATFORM_SIMULATED);
  const absl::StatusOr<std::optional<Frame>> hello = ends.Receive();
  ASSERT_OK(hello);
  EXPECT_EQ((*hello)->type, FrameType::kHello);
  v1::SessionHello message;
  ASSERT_TRUE(message.ParseFromString((*hello)->payload));
  EXPECT_EQ(message.version().major(), kVersionMajor);
  EXPECT_EQ(message.version().minor(), kVersionMinor);
}

TEST(WorkerSession, RefusalOfTheVersionNamesBothVersions) {
  Ends ends;
  ends.Send(FrameType::kRefusal, Refusal(kVersionMajor, kVersionMinor + 2, "too old"));
  const absl::Status refused = ends.Handshake().status();
  EXPECT_THAT(refused,
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(absl::StrCat(kVersionMajor, ".", kVersionMinor + 2)),
                             HasSubstr(kVersion), HasSubstr("too old"))));
  EXPECT_TRUE(refused.GetPayload(kUnsupportedVersionPayload).has_value());
}

TEST(WorkerSession, RefusalOfAnotherMajorVersionIsOneOfTheVersion) {
  Ends ends;
  ends.Send(FrameType::kRefusal, Refusal(kVersionMajor + 1, kVersionMinor, "other major"));
  EXPECT_TRUE(ends.Handshake().status().GetPayload(kUnsupportedVersionPayload).has_value());
}

TEST(WorkerSession, RefusalForALimitIsNoMatterOfVersions) {
  Ends ends;
  ends.Send(FrameType::kRefusal, Refusal(kVersionMajor, kVersionMinor, "256 sessions of one user"));
  const absl::Status refused = ends.Handshake().status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted,
                                HasSubstr("256 sessions of one user")));
  EXPECT_FALSE(refused.GetPayload(kUnsupportedVersionPayload).has_value());
}

TEST(WorkerSession, RefusalForAFailureOfTheDaemonSaysThatItIsNotAvailable) {
  Ends ends;
  v1::SessionRefusal refusal;
  ASSERT_TRUE(refusal.ParseFromString(Refusal(kVersionMajor, kVersionMinor, "read-only")));
  refusal.set_daemon_failed(true);
  ends.Send(FrameType::kRefusal, refusal.SerializeAsString());
  EXPECT_THAT(ends.Handshake().status(),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("cannot serve this process"), HasSubstr("read-only"))));
}

TEST(WorkerSession, DaemonThatClosesAtOnceIsUnavailable) {
  Ends ends;
  ends.daemon.Reset();
  EXPECT_THAT(ends.Handshake(),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("closed the connection"), HasSubstr("nodecommd at test"))));
}

TEST(WorkerSession, DaemonThatDoesNotAnswerIsUnavailable) {
  Ends ends;
  EXPECT_THAT(ends.Handshake(absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("did not answer within 20ms")));
}

TEST(WorkerSession, OtherProgramAtTheSocketIsUnavailable) {
  Ends ends;
  ASSERT_EQ(send(ends.daemon.get(), "HTTP/1.1", 8, 0), 8);
  EXPECT_THAT(ends.Handshake(), StatusIs(absl::StatusCode::kUnavailable,
                                         HasSubstr("does not speak nodecomm's protocol")));
}

TEST(WorkerSession, TransferBeforeTheWelcomeIsUnavailable) {
  Ends ends;
  ends.Send(FrameType::kTransfer, "", 1);
  EXPECT_THAT(ends.Handshake(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("welcome was expected")));
}

TEST(WorkerSession, NoSocketSaysWhatToDo) {
  const TemporaryDirectory directory;
  EXPECT_THAT(WorkerSession::Connect(directory.path()),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("no nodecommd at " + directory.path() + "/session.sock"),
                             HasSubstr("NODECOMM_RUNTIME_DIR"))));
}

TEST(WorkerSession, SocketOfADeadDaemonSaysWhatToDo) {
  const TemporaryDirectory directory;
  { const FakeSessionDaemon gone(directory.path()); }
  EXPECT_THAT(WorkerSession::Connect(directory.path()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("systemctl start nodecommd")));
}

TEST(WorkerSession, TooLongRuntimeDirIsTheCallersMistake) {
  EXPECT_THAT(WorkerSession::Connect("/tmp/" + std::string(120, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too long")));
}

// Such signals are a profiler's, for example.
TEST(WorkerSession, DaemonThatAcceptsNobodyIsUnavailableInTimeThoughSignalsCome) {
  const TemporaryDirectory directory;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = directory.path() + "/session.sock";
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* where = reinterpret_cast<const sockaddr*>(&address);
  const UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(listener.get(), where, sizeof(address)), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  std::vector<UniqueFd> backlog;
  do {
    backlog.emplace_back(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  } while (connect(backlog.back().get(), where, sizeof(address)) == 0);
  ASSERT_EQ(errno, EAGAIN);
  struct sigaction ignore = {};
  ignore.sa_handler = [](int) {};  // without SA_RESTART
  struct sigaction before = {};
  ASSERT_EQ(sigaction(SIGALRM, &ignore, &before), 0);
  const itimerval often = {.it_interval = {0, 10'000}, .it_value = {0, 10'000}};
  ASSERT_EQ(setitimer(ITIMER_REAL, &often, nullptr), 0);
  EXPECT_THAT(WorkerSession::Connect(directory.path(), absl::Milliseconds(200)),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("does not accept connections")));
  const itimerval never = {};
  ASSERT_EQ(setitimer(ITIMER_REAL, &never, nullptr), 0);
  ASSERT_EQ(sigaction(SIGALRM, &before, nullptr), 0);
}

TEST(WorkerSession, NoPermissionIsSaidSo) {
  const TemporaryDirectory directory;
  const FakeSessionDaemon daemon(directory.path());
  ASSERT_EQ(chmod(directory.path().c_str(), 0), 0);
  const bool is_root = geteuid() == 0;  // whom no mode stops
  if (is_root) {
    ASSERT_EQ(seteuid(65534), 0);
  }
  const absl::Status status = WorkerSession::Connect(directory.path()).status();
  if (is_root) {
    ASSERT_EQ(seteuid(0), 0);
  }
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("no permission to connect")));
  ASSERT_EQ(chmod(directory.path().c_str(), 0700), 0);
}

TEST(WorkerSession, TakesATransferAndAcknowledgesIt) {
  Ends ends;
  const WorkerSession::Owner session = ends.Open();
  const WorkerSession::Expectation expects(*session);
  const UniqueFd first = MakeMemory();
  const UniqueFd second = MakeMemory();
  ends.Send(FrameType::kTransfer, "", 5, {first.get(), second.get()});
  const absl::StatusOr<std::vector<UniqueFd>> taken = session->TakeTransfer(5, Soon());
  ASSERT_OK(taken);
  ASSERT_THAT(*taken, SizeIs(2));
  EXPECT_EQ(Inode((*taken)[0]), Inode(first));
  EXPECT_EQ(Inode((*taken)[1]), Inode(second));
  EXPECT_TRUE(fcntl((*taken)[0].get(), F_GETFD) & FD_CLOEXEC);
  const absl::StatusOr<std::optional<Frame>> ack = ends.Receive();
  ASSERT_OK(ack);
  EXPECT_EQ((*ack)->type, FrameType::kTransferAck);
  EXPECT_EQ((*ack)->transfer_id, 5);
}

TEST(WorkerSession, WaitsForATransfer) {
  Ends ends;
  const WorkerSession::Owner session = ends.Open();
  const WorkerSession::Expectation expects(*session);
  std::thread taker([&] { EXPECT_OK(session->TakeTransfer(5, Soon())); });
  ends.Send(FrameType::kTransfer, "", 5);
  taker.join();
}

TEST(WorkerSession, TransfersMayBeTakenInAnyOrderAndOnce) {
  Ends ends;
  const WorkerSession::Owner session = ends.Open();
  const WorkerSession::Expectation expects(*session);
  ends.Send(FrameType::kTransfer, "", 5);
  ends.Send(FrameType::kTransfer, "", 6);
  EXPECT_OK(session->TakeTransfer(6, Soon()));
  EXPECT_OK(session->TakeTransfer(5, Soon()));
  EXPECT_THAT(session->TakeTransfer(5, SteadyNow()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("transfer 5")));
}

TEST(WorkerSession, KeepsABoundedNumberOfTransfers) {
  Ends ends;
  const WorkerSession::Owner session = ends.Open();
  const WorkerSession::Expectation expects(*session);
  const uint64_t last = WorkerSession::kPendingTransfersMax + 1;
  for (uint64_t id = 1; id <= last; ++id) {
    ends.Send(FrameType::kTransfer, "", id);
    ASSERT_OK(ends.Receive());  // its acknowledgement
  }
  EXPECT_THAT(session->TakeTransfer(1, Soon()),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("was dropped")));
  EXPECT_OK(session->TakeTransfer(2, Soon()));
  EXPECT_OK(session->TakeTransfer(last, Soon()));
}

TEST(WorkerSession, KeepsItsSessionWhereThereIsNoRoomForATransfer) {
  Ends ends;
  const WorkerSession::Owner session = ends.Open();
  const WorkerSession::Expectation expects(*session);
  const UniqueFd memory = MakeMemory();
  absl::StatusOr<std::vector<UniqueFd>> transfer;
  {
    const FewFds few;
    ends.Send(FrameType::kTransfer, "", 5, {memory.get(), memory.get()});
    transfer = session->TakeTransfer(5, Soon());
  }
  EXPECT_THAT(transfer, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("ulimit -n")));
  const absl::StatusOr<std::optional<Frame>> ack = ends.Receive();
  ASSERT_OK(ack);
  EXPECT_EQ((*ack)->type, FrameType::kTransferAck);
  EXPECT_EQ((*ack)->transfer_id, 5);
  ends.Send(FrameType::kTransfer, "", 6, {memory.get()});
  EXPECT_OK(session->TakeTransfer(6, Soon()));
}

TEST(WorkerSession, WelcomeIsTakenWithoutItsPageWhereThereIsNoRoomForIt) {
  Ends ends;
  const UniqueFd page = MakeMemory();
  ends.Send(FrameType::kWelcome, WelcomePayload(), 0, {page.get()});
  absl::StatusOr<OpenedSession> opened;
  {
    const FewFds few;
    opened = ShakeHands(std::move(ends.worker), "nodecommd at test", kLongEnough);
  }
  ASSERT_OK(opened);
  EXPECT_FALSE(opened->liveness_page.valid());
  EXPECT_TRUE(opened->expects_alive) << "the daemon waits for it before it sends anything";
}

// A file that can be sent, and whether anybody holds it still.
class SentFile {
 public:
  SentFile() {
    int pipe_ends[2];
    EXPECT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
    reading_.Reset(pipe_ends[0]);
    writing_.Reset(pipe_ends[1]);
  }
  // Returns once the worker has dealt with it.
  void Send(Ends& ends, uint64_t transfer_id) {
    ends.Send(FrameType::kTransfer, "", transfer_id, {writing_.get()});
    EXPECT_OK(ends.Receive());  // the acknowledgement
    writing_.Reset();
  }
  bool IsHeld() const {
    pollfd hung_up = {.fd = reading_.get(), .events = 0, .revents = 0};
    return poll(&hung_up, 1, 0) == 0;
  }

 private:
  UniqueFd reading_;
  UniqueFd writing_;
};

// The answer that named it was lost.
TEST(WorkerSession, TransferThatNobodyExpectsAnyMoreIsClosed) {
  Ends ends;
  const WorkerSession::Owner session = ends.Open();
  SentFile file;
  std::optional<WorkerSession::Expectation> first(*session);
  std::optional<WorkerSession::Expectation> second(*session);
  file.Send(ends, 7);
  first.reset();
  EXPECT_TRUE(file.IsHeld()) << "the other may wait for it";
  second.reset();
  EXPECT_FALSE(file.IsHeld());
}

TEST(WorkerSession, TransferThatComesWhenNobodyExpectsAnyIsClosed) {
  Ends ends;
  const WorkerSession::Owner session = ends.Open();
  { const WorkerSession::Expectation gave_up(*session); }
  SentFile file;
  file.Send(ends, 7);
  EXPECT_FALSE(file.IsHeld());
}

TEST(WorkerSession, DaemonsEndWakesWhoWaits) {
  Ends ends;
  const WorkerSession::Owner session = ends.Open();
  EXPECT_FALSE(session->ended());
  std::thread taker([&] {
    EXPECT_THAT(session->TakeTransfer(5, Soon()),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("has ended")));
  });
  ends.daemon.Reset();
  taker.join();
  EXPECT_TRUE(session->ended());
}

TEST(WorkerSession, UnexpectedFrameEndsTheSession) {
  Ends ends;
  const WorkerSession::Owner session = ends.Open();
  ends.Send(FrameType::kWelcome, WelcomePayload());
  EXPECT_THAT(session->TakeTransfer(1, Soon()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("after its welcome")));
}

TEST(WorkerSession, EndIsOneForTheDaemonAsWell) {
  Ends ends;
  const WorkerSession::Owner session = ends.Open();
  ends.Send(FrameType::kRefusal, "");
  EXPECT_THAT(ends.Receive(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("closed")));
}

TEST(WorkerSession, AcknowledgesAsSoonAsThereIsRoom) {
  Ends ends;
  const UniqueFd worker = ends.worker.Duplicate();
  const WorkerSession::Owner session = ends.Open();
  const WorkerSession::Expectation expects(*session);
  int queued = 0;
  while (SendFrame(worker.get(), {.type = FrameType::kAlive}).ok()) ++queued;
  ends.Send(FrameType::kTransfer, "", 1);
  // Its acknowledgement is what comes next.
  ASSERT_OK(session->TakeTransfer(1, Soon()));
  for (int i = 0; i < queued; ++i) ASSERT_OK(ends.Receive());
  const auto ack = ends.Receive();
  ASSERT_OK(ack);
  EXPECT_EQ((*ack)->type, FrameType::kTransferAck);
  EXPECT_FALSE(session->ended());
}

TEST(WorkerSession, DestroyingItEndsItForTheDaemon) {
  Ends ends;
  WorkerSession::Owner session = ends.Open();
  session.reset();
  EXPECT_THAT(ends.Receive(), StatusIs(absl::StatusCode::kUnavailable));
}

// Runs `body` in a forked child, which then ends at once with what `body` returns.
template <typename Body>
int RunInChild(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(WorkerSession, ForkedChildNeitherUsesNorEndsIt) {
  Ends ends;
  WorkerSession::Owner session = ends.Open();
  const WorkerSession::Expectation expects(*session);
  const int code = RunInChild([&] {
    if (!absl::IsFailedPrecondition(session->TakeTransfer(1, SteadyNow()).status())) return 1;
    session.reset();
    return 0;
  });
  EXPECT_EQ(code, 0);
  ends.Send(FrameType::kTransfer, "", 9);
  EXPECT_OK(session->TakeTransfer(9, Soon()));
  const absl::StatusOr<std::optional<Frame>> next = ends.Receive();
  ASSERT_OK(next);
  EXPECT_EQ((*next)->type, FrameType::kTransferAck);  // and nothing of the child's before it
}

TEST(WorkerSession, EndsForTheDaemonThoughAForkedChildLives) {
  Ends ends;
  WorkerSession::Owner session = ends.Open();
  int pipe_ends[2];
  ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  const UniqueFd reading(pipe_ends[0]);
  UniqueFd writing(pipe_ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    writing.Reset();
    char byte;
    _exit(static_cast<int>(read(reading.get(), &byte, 1)));  // until the parent has closed its end
  }
  session.reset();
  EXPECT_THAT(ends.Receive(), StatusIs(absl::StatusCode::kUnavailable));
  writing.Reset();
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
}

TEST(WorkerSession, ForkedChildKeepsTheFilesThatHaveTheSessionsNumbers) {
  Ends ends;
  WorkerSession::Owner session = ends.Open();
  const int code = RunInChild([&] {
    if (close_range(STDERR_FILENO + 1, ~0U, 0) != 0) return 1;
    std::vector<int> files;
    for (int i = 0; i < 100; ++i) files.push_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
    session.reset();
    for (const int file : files) {
      if (fcntl(file, F_GETFD) < 0) return 2;
    }
    return 0;
  });
  EXPECT_EQ(code, 0);
}

TEST(WorkerSession, ResumesWithItsIdAndToken) {
  const TemporaryDirectory directory;
  FakeSessionDaemon daemon(directory.path());
  const absl::StatusOr<WorkerSession::Owner> session = WorkerSession::Connect(directory.path());
  ASSERT_OK(session);
  EXPECT_FALSE(daemon.last_hello().has_resume());
  EXPECT_EQ((*session)->rendezvous_timeout(), absl::ZeroDuration());
  daemon.SetRendezvousTimeout(absl::Minutes(30));
  std::atomic<int> resumed = 0;
  (*session)->OnResume([&] { ++resumed; });
  daemon.CloseSessions();
  while (resumed == 0) absl::SleepFor(absl::Milliseconds(1));  // bounded by the test's own bound
  EXPECT_OK((*session)->EnsureConnected(kLongEnough));
  EXPECT_EQ(daemon.last_hello().resume().session_id(), 7u);
  EXPECT_EQ(daemon.last_hello().resume().token(), std::string(32, '\xab'));
  EXPECT_EQ((*session)->rendezvous_timeout(), absl::Minutes(30));
  // What the earlier daemon had promised does not come any more.
  EXPECT_THAT((*session)->TakeTransfer(kFakeLastTransfer, Soon()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("went away")));
}

TEST(WorkerSession, SaysThatATransferWasDroppedThoughTheDaemonWasRestartedBefore) {
  const TemporaryDirectory directory;
  FakeSessionDaemon daemon(directory.path());
  const absl::StatusOr<WorkerSession::Owner> session = WorkerSession::Connect(directory.path());
  ASSERT_OK(session);
  daemon.CloseSessions();
  // Returns once the session knows.
  EXPECT_THAT((*session)->TakeTransfer(kFakeLastTransfer, Soon()),
              StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_OK((*session)->EnsureConnected(kLongEnough));
  const WorkerSession::Expectation expects(**session);
  const uint64_t first = kFakeLastTransfer + 1;
  const uint64_t last = first + WorkerSession::kPendingTransfersMax;
  for (uint64_t id = first; id <= last; ++id) daemon.SendTransfer(id);
  ASSERT_OK((*session)->TakeTransfer(last, Soon()));
  EXPECT_THAT((*session)->TakeTransfer(first, Soon()),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("was dropped")));
}

TEST(WorkerSession, GoesOnTryingAndFindsTheDaemonThatComesBack) {
  const TemporaryDirectory directory;
  auto daemon = std::make_unique<FakeSessionDaemon>(directory.path());
  const absl::StatusOr<WorkerSession::Owner> session = WorkerSession::Connect(directory.path());
  ASSERT_OK(session);
  daemon = nullptr;
  EXPECT_THAT((*session)->TakeTransfer(2000, Soon()), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT((*session)->EnsureConnected(kLongEnough), StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_EQ(unlink((directory.path() + "/session.sock").c_str()), 0);
  daemon = std::make_unique<FakeSessionDaemon>(directory.path());
  EXPECT_OK((*session)->EnsureConnected(kLongEnough));
}

TEST(WorkerSession, HoldsTheFutexOfItsPageUntilItEnds) {
  Ends ends;
  const UniqueFd page(memfd_create("page", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(page.get(), kLivenessPageBytes), 0);
  ends.Send(FrameType::kWelcome, WelcomePayload(), 0, {page.get()});
  absl::StatusOr<WorkerSession::Owner> session = ends.Handshake();
  ASSERT_OK(session);
  ASSERT_OK(ends.Receive());  // the hello
  const absl::StatusOr<std::optional<Frame>> alive = ends.Receive();
  ASSERT_OK(alive);
  EXPECT_EQ((*alive)->type, FrameType::kAlive);
  uint32_t word = 0;
  ASSERT_EQ(pread(page.get(), &word, sizeof(word), 0), static_cast<ssize_t>(sizeof(word)));
  EXPECT_NE(word & kFutexThreadMask, 0u);
  session->reset();
  ASSERT_EQ(pread(page.get(), &word, sizeof(word), 0), static_cast<ssize_t>(sizeof(word)));
  EXPECT_EQ(word, 0u) << "released, not orphaned";
}

}  // namespace
}  // namespace nodecomm
