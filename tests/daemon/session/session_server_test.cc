#include "daemon/session/session_server.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "client/base/steady_clock.h"
#include "client/base/version.h"
#include "client/session/worker_session.h"
#include "daemon/process/open_fds.h"
#include "daemon/session/foreign_sockets.h"
#include "daemon/session/runtime_dir.h"
#include "daemon/session/session_records.h"
#include "daemon/session/session_table.h"
#include "proto/refusal_line.h"
#include "tests/daemon/session/hostile_fds.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

// A memfd with a content by which it is known again.
UniqueFd MakeFile(const std::string& content) {
  UniqueFd fd(memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(write(fd.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
  return fd;
}

std::string ContentOf(const UniqueFd& fd) {
  std::array<char, 64> text = {};
  const ssize_t length = pread(fd.get(), text.data(), text.size(), 0);
  return std::string(text.data(), length > 0 ? static_cast<size_t>(length) : 0);
}

std::vector<UniqueFd> OneFile(const std::string& content) {
  std::vector<UniqueFd> fds;
  fds.push_back(MakeFile(content));
  return fds;
}

constexpr int kSoPassRights = 83;  // SO_PASSRIGHTS

bool KernelRefusesFds() {
  const UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return RefuseDescriptors(probe.get());
}

void MakePipe(UniqueFd& reader, UniqueFd& writer) {
  std::array<int, 2> ends;
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  reader.Reset(ends[0]);
  writer.Reset(ends[1]);
}

class SessionServerTest : public testing::Test {
 protected:
  void TearDown() override {
    server_.reset();
    dir_.reset();
  }

  void StartServer(SessionServer::Options options = {}) {
    auto dir = RuntimeDir::Create({.path = parent_ + "/run"});
    ASSERT_OK(dir);
    dir_ = *std::move(dir);
    auto listeners = dir_->Listen();
    ASSERT_OK(listeners);
    for (const UniqueFd* listener : {&listeners->session, &listeners->control}) {
      const int passes = 1;
      if (!listeners_pass_fds_) break;
      setsockopt(listener->get(), SOL_SOCKET, kSoPassRights, &passes, sizeof(passes));
    }
    options.session_listener = std::move(listeners->session);
    options.control_listener = std::move(listeners->control);
    options.admin_listener = std::move(listeners->admin);
    options.platform = v1::PLATFORM_SIMULATED;
    auto server = SessionServer::Create(std::move(options));
    ASSERT_OK(server);
    server_ = *std::move(server);
    absl::SleepFor(delay_before_start_);
    server_->Start({.session_died =
                        [this](SessionId session, std::string_view cause) {
                          absl::MutexLock lock(&mu_);
                          EXPECT_EQ(ended_.count(session), 0u) << "ended before it died";
                          died_.emplace(session, std::string(cause));
                        },
                    .session_ended =
                        [this](const Caller& caller, SessionEnd end, std::string_view cause) {
                          absl::MutexLock lock(&mu_);
                          ended_.emplace(caller.session, std::string(cause));
                          ends_.insert_or_assign(caller.session, end);
                        },
                    .control_connected =
                        [this](UniqueFd fd, const PeerCredentials&) {
                          absl::MutexLock lock(&mu_);
                          control_.push_back(std::move(fd));
                        },
                    .admin_connected =
                        [this](UniqueFd fd) {
                          absl::MutexLock lock(&mu_);
                          admin_.push_back(std::move(fd));
                        },
                    .session_opened =
                        [this](const Caller& caller) {
                          absl::MutexLock lock(&mu_);
                          opened_.push_back(caller);
                        },
                    .refused =
                        [this](const Refusal& refusal) {
                          absl::MutexLock lock(&mu_);
                          refusals_.push_back(refusal);
                        }});
  }

  std::string socket_path() const { return dir_->session_socket_path(); }

  // The cause of the session's end; empty if it has not ended within the bound.
  std::string WaitForEnd(SessionId session, absl::Duration timeout = kTestTimeout) {
    absl::MutexLock lock(&mu_);
    const auto ended = [&] {
      mu_.AssertReaderHeld();
      return ended_.count(session) != 0;
    };
    mu_.AwaitWithTimeout(absl::Condition(&ended), timeout);
    const auto it = ended_.find(session);
    return it == ended_.end() ? "" : it->second;
  }

  size_t EndedCount() {
    absl::MutexLock lock(&mu_);
    return ended_.size();
  }

  size_t ControlCount() {
    absl::MutexLock lock(&mu_);
    return control_.size();
  }

  absl::Duration delay_before_start_;
  bool listeners_pass_fds_ = false;  // as on a kernel that cannot refuse them
  const TemporaryDirectory directory_;
  const std::string parent_ = directory_.path();
  std::unique_ptr<RuntimeDir> dir_;
  absl::Mutex mu_;
  SessionEnd EndOf(SessionId session) {
    absl::MutexLock lock(&mu_);
    return ends_.at(session);
  }

  // The first refusal; it is told of after the worker was.
  Refusal WaitForRefusal() {
    absl::MutexLock lock(&mu_);
    const auto refused = [&] {
      mu_.AssertReaderHeld();
      return !refusals_.empty();
    };
    mu_.AwaitWithTimeout(absl::Condition(&refused), kTestTimeout);
    return refusals_.empty() ? Refusal() : refusals_.front();
  }

  std::vector<Refusal> refusals_ ABSL_GUARDED_BY(mu_);
  std::map<SessionId, SessionEnd> ends_ ABSL_GUARDED_BY(mu_);
  std::multimap<SessionId, std::string> ended_ ABSL_GUARDED_BY(mu_);
  std::multimap<SessionId, std::string> died_ ABSL_GUARDED_BY(mu_);
  std::vector<Caller> opened_ ABSL_GUARDED_BY(mu_);
  std::vector<UniqueFd> control_ ABSL_GUARDED_BY(mu_);
  std::vector<UniqueFd> admin_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<SessionServer> server_;
};

TEST_F(SessionServerTest, WelcomeHasIdTokenVersionAndPlatform) {
  StartServer({.rendezvous_timeout = [] { return absl::Minutes(30); }});
  TestWorker worker(socket_path());
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  EXPECT_NE(welcome->session_id(), 0u);
  EXPECT_THAT(welcome->token(), SizeIs(32));
  EXPECT_EQ(welcome->version().major(), kVersionMajor);
  EXPECT_EQ(welcome->version().minor(), kVersionMinor);
  EXPECT_EQ(welcome->platform(), v1::PLATFORM_SIMULATED);
  EXPECT_EQ(welcome->rendezvous_timeout_ms(), 30 * 60 * 1000);
  EXPECT_EQ(server_->session_count(), 1);
  absl::MutexLock lock(&mu_);
  ASSERT_THAT(opened_, SizeIs(1));
  EXPECT_EQ(opened_[0].session.value, welcome->session_id());
  EXPECT_EQ(opened_[0].pid, getpid());
  EXPECT_EQ(opened_[0].uid, geteuid());
}

TEST_F(SessionServerTest, ProcessMayHaveSeveralSessions) {
  StartServer();
  TestWorker a(socket_path());
  TestWorker b(socket_path());
  const auto welcome_a = a.Open();
  const auto welcome_b = b.Open();
  ASSERT_OK(welcome_a);
  ASSERT_OK(welcome_b);
  EXPECT_NE(welcome_a->session_id(), welcome_b->session_id());
  EXPECT_NE(welcome_a->token(), welcome_b->token());
  EXPECT_EQ(server_->session_count(), 2);
}

TEST_F(SessionServerTest, TokenFindsItsSessionUntilTheEnd) {
  StartServer();
  TestWorker a(socket_path());
  TestWorker b(socket_path());
  const auto welcome_a = a.Open();
  const auto welcome_b = b.Open();
  ASSERT_OK(welcome_a);
  ASSERT_OK(welcome_b);
  const std::optional<Caller> caller = server_->FindByToken(welcome_b->token());
  ASSERT_TRUE(caller.has_value());
  EXPECT_EQ(caller->session.value, welcome_b->session_id());
  EXPECT_EQ(caller->pid, getpid());
  EXPECT_EQ(caller->uid, geteuid());

  std::string wrong = welcome_b->token();
  wrong[31] = static_cast<char>(wrong[31] ^ 1);
  EXPECT_FALSE(server_->FindByToken(wrong).has_value());
  EXPECT_FALSE(server_->FindByToken("").has_value());
  EXPECT_FALSE(server_->FindByToken(welcome_b->token().substr(0, 31)).has_value());

  b.Close();
  EXPECT_NE(WaitForEnd({welcome_b->session_id()}), "");
  EXPECT_FALSE(server_->FindByToken(welcome_b->token()).has_value());
  EXPECT_TRUE(server_->FindByToken(welcome_a->token()).has_value());
  EXPECT_EQ(server_->session_count(), 1);
}

TEST_F(SessionServerTest, OtherVersionIsRefusedWithBothVersions) {
  StartServer();
  TestWorker worker(socket_path());
  ASSERT_OK(worker.SendHello(kVersionMajor + 1, 7));
  const auto refusal = worker.ReceiveRefusal();
  ASSERT_OK(refusal);
  EXPECT_THAT(refusal->reason(), AllOf(HasSubstr(std::to_string(kVersionMajor + 1) + ".7"),
                                       HasSubstr(kVersion), HasSubstr("matching versions")));
  EXPECT_EQ(refusal->version().major(), kVersionMajor);
  EXPECT_TRUE(worker.IsClosed());
  EXPECT_EQ(server_->session_count(), 0);
  EXPECT_EQ(EndedCount(), 0u);
  const Refusal told = WaitForRefusal();
  EXPECT_EQ(told.door, Door::kSession);
  EXPECT_EQ(told.cause, RefusalCause::kVersion);
  EXPECT_EQ(told.pid, getpid());
  EXPECT_EQ(told.reason, refusal->reason());
}

TEST_F(SessionServerTest, NeighbouringMinorVersionIsServed) {
  StartServer();
  TestWorker worker(socket_path());
  ASSERT_OK(worker.SendHello(kVersionMajor, kVersionMinor + 1));
  const auto frame = worker.Receive();
  ASSERT_OK(frame);
  EXPECT_EQ(frame->type, FrameType::kWelcome);
}

TEST_F(SessionServerTest, SessionsAreLimitedInAll) {
  StartServer({.sessions_max = 2});
  TestWorker a(socket_path());
  TestWorker b(socket_path());
  ASSERT_OK(a.Open());
  const auto welcome_b = b.Open();
  ASSERT_OK(welcome_b);
  // The hello may be sent or not before the refusal: the reason arrives all the same.
  for (const bool hello : {false, true}) {
    TestWorker c(socket_path());
    if (hello) c.SendHello(kVersionMajor, kVersionMinor).IgnoreError();
    const auto refusal = c.ReceiveRefusal();
    ASSERT_OK(refusal);
    EXPECT_THAT(refusal->reason(),
                AllOf(HasSubstr("serves 2 sessions already, of at most 2, and uid"),
                      HasSubstr("limits.sessions_max")));
    EXPECT_TRUE(c.IsClosed());
  }
  b.Close();
  EXPECT_NE(WaitForEnd({welcome_b->session_id()}), "");
  TestWorker d(socket_path());
  EXPECT_OK(d.Open());
}

TEST_F(SessionServerTest, SessionsAreLimitedByUser) {
  StartServer({.sessions_per_uid_max = 1});
  TestWorker a(socket_path());
  ASSERT_OK(a.Open());
  TestWorker b(socket_path());
  const auto refusal = b.ReceiveRefusal();
  ASSERT_OK(refusal);
  EXPECT_THAT(refusal->reason(),
              AllOf(HasSubstr(absl::StrCat("uid ", geteuid(),
                                           " has 1 sessions already, of at most "
                                           "1, and the daemon serves 1 sessions in all, of at most "
                                           "1024")),
                    HasSubstr("limits.sessions_per_uid_max")));
  EXPECT_EQ(WaitForRefusal().cause, RefusalCause::kLimit);
}

TEST_F(SessionServerTest, ConnectionsThatHaveSaidNothingAreCalledThatAtTheLimit) {
  StartServer({.sessions_per_uid_max = 3, .hello_timeout = kTestTimeout});
  TestWorker open(socket_path());
  ASSERT_OK(open.Open());
  TestWorker silent(socket_path());
  TestWorker also_silent(socket_path());
  TestWorker refused(socket_path());
  const auto refusal = refused.ReceiveRefusal();
  ASSERT_OK(refusal);
  EXPECT_THAT(refusal->reason(),
              HasSubstr("has 1 sessions and 2 connections that have said nothing yet already"));
}

TEST_F(SessionServerTest, SilentConnectionIsClosed) {
  StartServer({.hello_timeout = absl::Milliseconds(20)});
  TestWorker silent(socket_path());
  EXPECT_TRUE(silent.IsClosed());
  EXPECT_EQ(EndedCount(), 0u);
}

TEST_F(SessionServerTest, HelloTimeoutSparesOpenSessions) {
  StartServer({.hello_timeout = absl::Milliseconds(50)});
  TestWorker worker(socket_path());
  ASSERT_OK(worker.Open());
  TestWorker silent(socket_path());
  EXPECT_TRUE(silent.IsClosed());
  EXPECT_EQ(server_->session_count(), 1);
  EXPECT_EQ(EndedCount(), 0u);
}

TEST_F(SessionServerTest, TransfersComeInOrderOneAtATime) {
  StartServer();
  TestWorker worker(socket_path());
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  const SessionId session = {welcome->session_id()};
  std::vector<UniqueFd> two = OneFile("a0");
  two.push_back(MakeFile("a1"));
  const uint64_t first = server_->Send(session, std::move(two));
  const uint64_t second = server_->Send(session, OneFile("b"));
  const uint64_t third = server_->Send(session, {});
  EXPECT_LT(first, second);
  EXPECT_LT(second, third);

  auto frame = worker.Receive();
  ASSERT_OK(frame);
  EXPECT_EQ(frame->type, FrameType::kTransfer);
  EXPECT_EQ(frame->transfer_id, first);
  ASSERT_THAT(frame->fds, SizeIs(2));
  EXPECT_EQ(ContentOf(frame->fds[0]), "a0");
  EXPECT_EQ(ContentOf(frame->fds[1]), "a1");
  // Not before the acknowledgement. (Nothing to wait for: a server in error would send within this
  // bound.)
  EXPECT_THAT(worker.Receive(absl::Milliseconds(30)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));

  ASSERT_OK(worker.Ack(first));
  frame = worker.Receive();
  ASSERT_OK(frame);
  EXPECT_EQ(frame->transfer_id, second);
  EXPECT_EQ(ContentOf(frame->fds[0]), "b");
  ASSERT_OK(worker.Ack(second));
  frame = worker.Receive();
  ASSERT_OK(frame);
  EXPECT_EQ(frame->transfer_id, third);
  EXPECT_THAT(frame->fds, IsEmpty());
}

TEST_F(SessionServerTest, TransfersOfOneSessionDoNotWaitForAnother) {
  StartServer();
  TestWorker lazy(socket_path());
  TestWorker keen(socket_path());
  const auto welcome_lazy = lazy.Open();
  const auto welcome_keen = keen.Open();
  ASSERT_OK(welcome_lazy);
  ASSERT_OK(welcome_keen);
  for (int i = 0; i < 5; ++i) server_->Send({welcome_lazy->session_id()}, OneFile("x"));
  const uint64_t id = server_->Send({welcome_keen->session_id()}, OneFile("y"));
  const auto frame = keen.Receive();
  ASSERT_OK(frame);
  EXPECT_EQ(frame->transfer_id, id);
  EXPECT_EQ(ContentOf(frame->fds[0]), "y");
}

TEST_F(SessionServerTest, WorkerThatTakesNothingIsEnded) {
  StartServer();
  TestWorker worker(socket_path());
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  const int before = CountOpenFds();
  // One in flight, a full queue, and one more.
  for (size_t i = 0; i < kTransfersQueuedMax + 2; ++i) {
    server_->Send({welcome->session_id()}, OneFile("x"));
  }
  EXPECT_THAT(WaitForEnd({welcome->session_id()}), HasSubstr("does not take"));
  EXPECT_EQ(EndOf({welcome->session_id()}), SessionEnd::kNotTaken);
  EXPECT_TRUE(worker.IsClosed());
  EXPECT_TRUE(Eventually([&] { return CountOpenFds() <= before; }));
}

TEST_F(SessionServerTest, FdsForAnEndedSessionAreClosed) {
  StartServer();
  const int before = CountOpenFds();
  EXPECT_NE(server_->Send({12345}, OneFile("x")), 0u);
  EXPECT_EQ(CountOpenFds(), before);
}

TEST_F(SessionServerTest, WrongAcknowledgementEndsTheSession) {
  StartServer();
  TestWorker worker(socket_path());
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  ASSERT_OK(worker.Ack(99));
  EXPECT_THAT(WaitForEnd({welcome->session_id()}), HasSubstr("acknowledged transfer 99"));
  EXPECT_EQ(EndOf({welcome->session_id()}), SessionEnd::kProtocol);
  EXPECT_TRUE(worker.IsClosed());
}

TEST_F(SessionServerTest, GarbageEndsOnlyItsOwnSession) {
  StartServer();
  TestWorker good(socket_path());
  TestWorker bad(socket_path());
  ASSERT_OK(good.Open());
  const auto welcome = bad.Open();
  ASSERT_OK(welcome);
  ASSERT_EQ(send(bad.fd(), "garbage", 7, MSG_NOSIGNAL), 7);
  EXPECT_THAT(WaitForEnd({welcome->session_id()}), HasSubstr("not a frame of nodecomm"));
  EXPECT_TRUE(bad.IsClosed());
  EXPECT_EQ(EndedCount(), 1u);
  EXPECT_EQ(server_->session_count(), 1);
}

TEST_F(SessionServerTest, UnexpectedFramesEndTheSession) {
  StartServer();
  for (const FrameType type : {FrameType::kHello, FrameType::kWelcome, FrameType::kTransfer}) {
    TestWorker worker(socket_path());
    const auto welcome = worker.Open();
    ASSERT_OK(welcome);
    ASSERT_OK(worker.Send(type));
    EXPECT_THAT(WaitForEnd({welcome->session_id()}), HasSubstr("was not expected"));
  }
  // Before the hello there is no session to end.
  TestWorker early(socket_path());
  ASSERT_OK(early.Ack(1));
  EXPECT_TRUE(early.IsClosed());
  EXPECT_EQ(EndedCount(), 3u);
}

// Nothing else that a worker may say can be said as often as it likes.
TEST_F(SessionServerTest, WorkerThatSaysAgainThatItIsAliveIsEnded) {
  StartServer();
  TestWorker other(socket_path());
  ASSERT_OK(other.Open());
  TestWorker worker(socket_path());
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  ASSERT_OK(worker.Send(FrameType::kAlive));
  const uint64_t id = server_->Send({welcome->session_id()}, OneFile("after the first"));
  ASSERT_OK(worker.Receive());
  ASSERT_OK(worker.Ack(id));
  EXPECT_EQ(EndedCount(), 0u);
  ASSERT_OK(worker.Send(FrameType::kAlive));
  EXPECT_THAT(WaitForEnd({welcome->session_id()}), HasSubstr("more than once that it is alive"));
  EXPECT_EQ(EndOf({welcome->session_id()}), SessionEnd::kProtocol);
  EXPECT_TRUE(worker.IsClosed());
  EXPECT_EQ(server_->session_count(), 1);
}

// Or the page would be the daemon's in the kernel's account, for as long as a worker keeps it.
TEST_F(SessionServerTest, PageThatItsWorkerHasNotTouchedIsNotTouchedHere) {
  StartServer();
  TestWorker worker(socket_path());
  ASSERT_OK(worker.SendHello(kVersionMajor, kVersionMinor));
  const auto welcome = worker.Receive();
  ASSERT_OK(welcome);
  ASSERT_THAT(welcome->fds, SizeIs(1));
  ASSERT_OK(worker.Send(FrameType::kAlive));
  ASSERT_TRUE(Eventually([&] { return server_->TakesTurns(kTestTimeout); }));
  // As long as another thread would take to look at it.
  const absl::Time end = absl::Now() + absl::Milliseconds(200);
  struct stat page = {};
  while (absl::Now() < end && page.st_blocks == 0) {
    ASSERT_EQ(fstat(welcome->fds[0].get(), &page), 0);
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(page.st_blocks, 0);
  EXPECT_EQ(server_->session_count(), 1);
}

TEST_F(SessionServerTest, WorkersCannotSendFds) {
  if (!KernelRefusesFds()) GTEST_SKIP() << "needs SO_PASSRIGHTS (Linux 6.16)";
  StartServer();
  TestWorker worker(socket_path());
  ASSERT_OK(worker.Open());
  const UniqueFd control = ConnectTo(dir_->control_socket_path(), SOCK_STREAM);
  for (const int socket : {worker.fd(), control.get()}) {
    EXPECT_FALSE(SendFd(socket, worker.fd()));
    EXPECT_EQ(errno, EPERM);
  }
}

TEST_F(SessionServerTest, FdsFromAWorkerAreAnErrorAndClosed) {
  listeners_pass_fds_ = true;
  StartServer();
  TestWorker worker(socket_path());
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  UniqueFd reader;
  UniqueFd writer;
  MakePipe(reader, writer);
  ASSERT_TRUE(SendFd(worker.fd(), writer.get()));
  writer.Reset();
  EXPECT_THAT(WaitForEnd({welcome->session_id()}), HasSubstr("carries fds"));
  char byte;
  EXPECT_EQ(read(reader.get(), &byte, 1), 0) << "its last descriptor is closed";
}

// A socket that lingers holds up for a minute whoever closes its last descriptor.
TEST_F(SessionServerTest, LingeringSocketsOfAWorkerHoldUpNobody) {
  listeners_pass_fds_ = true;
  StartServer({.control_connections_per_uid_max = 1});
  std::vector<LingeringSocket> lingering(3);
  TestWorker open(socket_path());
  ASSERT_OK(open.Open());
  ASSERT_TRUE(lingering[0].PassTo(open.fd()));
  TestWorker silent(socket_path());
  ASSERT_TRUE(lingering[1].PassTo(silent.fd()));
  // One over the limit, which is refused.
  const UniqueFd first = ConnectTo(dir_->control_socket_path(), SOCK_STREAM);
  const UniqueFd over = ConnectTo(dir_->control_socket_path(), SOCK_STREAM);
  lingering[2].PassTo(over.get());  // it may be closed already
  EXPECT_TRUE(open.IsClosed());
  EXPECT_TRUE(silent.IsClosed());
  const absl::Time start = absl::Now();
  TestWorker other(socket_path());
  EXPECT_OK(other.Open());
  EXPECT_LT(absl::Now() - start, absl::Seconds(1));
}

TEST_F(SessionServerTest, HalfClosedSocketEndsTheSession) {
  StartServer();
  TestWorker worker(socket_path());
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  ASSERT_EQ(shutdown(worker.fd(), SHUT_WR), 0);
  EXPECT_NE(WaitForEnd({welcome->session_id()}), "");
}

// A child process that runs `body` with a pipe to the parent, and is killed at the end.
class ChildProcess {
 public:
  template <typename Body>
  explicit ChildProcess(Body body) {
    std::array<int, 2> ends;
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    read_end_.Reset(ends[0]);
    pid_ = fork();
    if (pid_ == 0) {
      body(ends[1]);
      _exit(0);
    }
    close(ends[1]);
  }
  ~ChildProcess() { Kill(); }

  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  template <typename T>
  T Read() {
    T value = {};
    EXPECT_EQ(read(read_end_.get(), &value, sizeof(value)), static_cast<ssize_t>(sizeof(value)));
    return value;
  }

  pid_t pid() const { return pid_; }

 private:
  UniqueFd read_end_;
  pid_t pid_ = -1;
};

template <typename T>
void WriteValue(int fd, T value) {
  if (write(fd, &value, sizeof(value)) != static_cast<ssize_t>(sizeof(value))) _exit(1);
}

// Of user 65534; reports whether it was opened, and holds it until it is killed. Needs root.
ChildProcess SessionOfAnotherUser(const std::string& path) {
  return ChildProcess([path](int report) {
    if (setuid(65534) != 0) _exit(1);
    TestWorker worker(path);
    WriteValue(report, worker.Open().ok());
    pause();
  });
}

TEST_F(SessionServerTest, KilledWorkerEndsItsSessionPromptly) {
  StartServer();
  ChildProcess child([path = socket_path()](int report) {
    TestWorker worker(path);
    const auto welcome = worker.Open();
    WriteValue(report, welcome.ok() ? welcome->session_id() : 0);
    pause();
  });
  const SessionId session = {child.Read<uint64_t>()};
  ASSERT_NE(session.value, 0u);
  const std::string pid = std::to_string(child.pid());
  const absl::Time killed = absl::Now();
  child.Kill();
  EXPECT_THAT(WaitForEnd(session), HasSubstr("process " + pid + " has ended"));
  EXPECT_LT(absl::Now() - killed, absl::Seconds(2));
}

TEST_F(SessionServerTest, ForkedProcessThatHoldsTheSocketDoesNotKeepTheSession) {
  StartServer();
  ChildProcess child([path = socket_path()](int report) {
    TestWorker worker(path);
    const auto welcome = worker.Open();
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      pause();  // holds the socket
      _exit(0);
    }
    WriteValue(report, grandchild);
    WriteValue(report, welcome.ok() ? welcome->session_id() : 0);
    pause();
  });
  const pid_t grandchild = child.Read<pid_t>();
  const SessionId session = {child.Read<uint64_t>()};
  ASSERT_NE(session.value, 0u);
  const std::string pid = std::to_string(child.pid());
  child.Kill();
  EXPECT_EQ(WaitForEnd(session), "process " + pid + " has ended");
  EXPECT_EQ(kill(grandchild, SIGKILL), 0) << "the grandchild should have outlived the session";
}

TEST_F(SessionServerTest, EndOfAForkedProcessDoesNotEndTheSession) {
  StartServer();
  TestWorker worker(socket_path());
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  // The session still works.
  const uint64_t id = server_->Send({welcome->session_id()}, OneFile("x"));
  const auto frame = worker.Receive();
  ASSERT_OK(frame);
  EXPECT_EQ(frame->transfer_id, id);
  EXPECT_EQ(EndedCount(), 0u);
}

TEST_F(SessionServerTest, ManyConnectionsLeakNoFds) {
  StartServer();
  const int before = CountOpenFds();
  for (int i = 0; i < 200; ++i) {
    TestWorker worker(socket_path());
    switch (i % 4) {
      case 0:
        ASSERT_OK(worker.Open());
        break;
      case 1:
        ASSERT_OK(worker.SendHello(kVersionMajor + 1, 0));
        break;
      case 2:
        ASSERT_EQ(send(worker.fd(), "x", 1, MSG_NOSIGNAL), 1);
        break;
      case 3:
        break;
    }
  }
  EXPECT_TRUE(Eventually([&] { return CountOpenFds() == before; })) << CountOpenFds();
  EXPECT_EQ(EndedCount(), 50u);
  EXPECT_EQ(server_->session_count(), 0);
}

TEST_F(SessionServerTest, StopEndsSessionsAndDeliversIt) {
  StartServer();
  TestWorker worker(socket_path());
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  server_->Stop();
  EXPECT_EQ(WaitForEnd({welcome->session_id()}, absl::ZeroDuration()), "the daemon is stopping");
  EXPECT_EQ(EndOf({welcome->session_id()}), SessionEnd::kDaemonStopping);
  EXPECT_TRUE(worker.IsClosed());
  EXPECT_EQ(server_->session_count(), 0);
  EXPECT_FALSE(ConnectTo(socket_path(), SOCK_SEQPACKET).valid());
  server_->Stop();
  EXPECT_EQ(EndedCount(), 1u);
}

TEST_F(SessionServerTest, StopWithoutStart) {
  StartServer();
  auto dir = RuntimeDir::Create({.path = parent_ + "/second"});
  ASSERT_OK(dir);
  auto listeners = (*dir)->Listen();
  ASSERT_OK(listeners);
  SessionServer::Options options;
  options.session_listener = std::move(listeners->session);
  options.control_listener = std::move(listeners->control);
  options.admin_listener = std::move(listeners->admin);
  const auto server = SessionServer::Create(std::move(options));
  ASSERT_OK(server);
  (*server)->Stop();
}

TEST_F(SessionServerTest, ControlConnectionsAreHandedOver) {
  StartServer();
  const UniqueFd client = ConnectTo(dir_->control_socket_path(), SOCK_STREAM);
  ASSERT_TRUE(Eventually([&] { return ControlCount() == 1; }));
  absl::MutexLock lock(&mu_);
  EXPECT_NE(fcntl(control_[0].get(), F_GETFL) & O_NONBLOCK, 0);
  ASSERT_EQ(send(control_[0].get(), "hi", 2, 0), 2);
  std::array<char, 3> got = {};
  EXPECT_EQ(recv(client.get(), got.data(), 2, 0), 2);
  EXPECT_STREQ(got.data(), "hi");
}

TEST_F(SessionServerTest, ControlConnectionsAreLimitedByUserAndCountedDown) {
  StartServer({.control_connections_per_uid_max = 2});
  const std::string path = dir_->control_socket_path();
  UniqueFd a = ConnectTo(path, SOCK_STREAM);
  const UniqueFd b = ConnectTo(path, SOCK_STREAM);
  ASSERT_TRUE(Eventually([&] { return ControlCount() == 2; }));
  EXPECT_THAT(server_->ControlConnections(), ElementsAre(Pair(geteuid(), 2)));
  const UniqueFd over = ConnectTo(path, SOCK_STREAM);
  char byte;
  EXPECT_EQ(recv(over.get(), &byte, 1, 0), 0) << "closed at once";
  EXPECT_EQ(ControlCount(), 2u);
  EXPECT_EQ(WaitForRefusal().door, Door::kControl);
  EXPECT_EQ(WaitForRefusal().cause, RefusalCause::kLimit);
  EXPECT_THAT(WaitForRefusal().reason, HasSubstr("limits.control_connections_per_uid_max"));

  // Its owner shuts it down and closes it: there is room for one more.
  {
    absl::MutexLock lock(&mu_);
    shutdown(control_[1].get(), SHUT_RDWR);
    control_[1].Reset();
  }
  std::vector<UniqueFd> tries;
  EXPECT_TRUE(Eventually([&] {
    tries.push_back(ConnectTo(path, SOCK_STREAM));
    return ControlCount() == 3;
  }));
}

// gRPC keeps a connection as long as calls of it wait, whatever the worker does with its end.
TEST_F(SessionServerTest, ControlConnectionCountsUntilItsOwnerHasClosedIt) {
  StartServer({.control_connections_per_uid_max = 2});
  const std::string path = dir_->control_socket_path();
  const UniqueFd half = ConnectTo(path, SOCK_STREAM);
  UniqueFd whole = ConnectTo(path, SOCK_STREAM);
  ASSERT_TRUE(Eventually([&] { return ControlCount() == 2; }));
  ASSERT_EQ(shutdown(half.get(), SHUT_WR), 0);
  whole.Reset();
  for (int i = 0; i < 3; ++i) {
    const UniqueFd over = ConnectTo(path, SOCK_STREAM);
    char byte;
    EXPECT_EQ(recv(over.get(), &byte, 1, 0), 0) << "closed at once";
  }
  EXPECT_EQ(ControlCount(), 2u);
  for (const size_t closed : {0u, 1u}) {
    {
      absl::MutexLock lock(&mu_);
      control_[closed].Reset();
    }
    std::vector<UniqueFd> tries;
    EXPECT_TRUE(Eventually([&] {
      tries.push_back(ConnectTo(path, SOCK_STREAM));
      return ControlCount() == 3 + closed;
    }));
  }
}

TEST_F(SessionServerTest, UserWhoIsCutOffLosesItsControlConnectionsAndNothingElse) {
  StartServer();
  const std::string path = dir_->control_socket_path();
  const std::array<UniqueFd, 2> there = {ConnectTo(path, SOCK_STREAM),
                                         ConnectTo(path, SOCK_STREAM)};
  const UniqueFd admin = ConnectTo(dir_->admin_socket_path(), SOCK_STREAM);
  TestWorker worker(socket_path());
  ASSERT_OK(worker.Open());
  ASSERT_EQ(send(there[0].get(), "unread", 6, 0), 6);
  ASSERT_TRUE(Eventually([&] { return ControlCount() == 2; }));
  server_->CutOff(geteuid() + 1);
  ASSERT_TRUE(server_->TakesTurns(kTestTimeout));
  char byte;
  EXPECT_EQ(recv(there[0].get(), &byte, 1, MSG_DONTWAIT), -1) << "another user was cut off";

  server_->CutOff(geteuid());
  for (const UniqueFd& connection : there) {
    EXPECT_EQ(recv(connection.get(), &byte, 1, 0), 0) << "closed";
  }
  // The other end sees the end before what had come is dropped.
  ASSERT_TRUE(server_->TakesTurns(kTestTimeout));
  {
    absl::MutexLock lock(&mu_);
    for (const UniqueFd& owners : control_) {
      // Before Linux 6.16 the daemon drops nothing, since descriptors could be in it.
      if (!RefusesDescriptors(owners.get())) continue;
      EXPECT_EQ(recv(owners.get(), &byte, 1, MSG_DONTWAIT), 0) << "there is nothing to read";
    }
  }
  const UniqueFd late = ConnectTo(path, SOCK_STREAM);
  EXPECT_EQ(recv(late.get(), &byte, 1, 0), 0) << "not taken";
  EXPECT_EQ(WaitForRefusal().cause, RefusalCause::kRate);
  EXPECT_THAT(WaitForRefusal().reason, HasSubstr("resets calls as fast as it can"));
  EXPECT_EQ(recv(admin.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(recv(worker.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
}

TEST_F(SessionServerTest, AdminConnectionsAreHandedOver) {
  StartServer();
  const UniqueFd client = ConnectTo(dir_->admin_socket_path(), SOCK_STREAM);
  EXPECT_TRUE(Eventually([&] {
    absl::MutexLock lock(&mu_);
    return admin_.size() == 1;
  }));
  EXPECT_EQ(ControlCount(), 0u);
}

TEST_F(SessionServerTest, AdministratorOverTheLimitIsToldWhoHasTheConnections) {
  StartServer();
  std::vector<UniqueFd> taken;
  for (int i = 0; i < 64; ++i) {
    taken.push_back(ConnectTo(dir_->admin_socket_path(), SOCK_STREAM));
  }
  const UniqueFd over = ConnectTo(dir_->admin_socket_path(), SOCK_STREAM);
  std::array<char, kRefusalLineBytesMax> line = {};
  ASSERT_GT(recv(over.get(), line.data(), line.size(), 0), 0);
  EXPECT_EQ(std::string_view(line.data()),
            absl::StrCat(kRefusalStart, "uid ", geteuid(),
                         " has 64 connections already, the most allowed (not a setting); process ",
                         getpid(), " has 64 of them; all users have 64\n"));
  EXPECT_EQ(recv(over.get(), line.data(), line.size(), 0), 0) << "closed";
  EXPECT_EQ(WaitForRefusal().door, Door::kAdmin);
  EXPECT_EQ(WaitForRefusal().cause, RefusalCause::kLimit);
}

TEST_F(SessionServerTest, OtherUsersAreNoAdministratorsWhateverTheModesSay) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  StartServer();
  std::filesystem::permissions(parent_, std::filesystem::perms(0755));
  std::filesystem::permissions(parent_ + "/run/admin", std::filesystem::perms(0755));
  std::filesystem::permissions(dir_->admin_socket_path(), std::filesystem::perms(0666));
  ChildProcess child([path = dir_->admin_socket_path()](int report) {
    if (setuid(65534) != 0) _exit(1);
    const UniqueFd socket = ConnectTo(path, SOCK_STREAM);
    std::array<char, kRefusalLineBytesMax> line = {};
    WriteValue(report, socket.valid());
    recv(socket.get(), line.data(), line.size(), 0);
    WriteValue(report, line);
    WriteValue(report, recv(socket.get(), line.data(), line.size(), 0));
  });
  EXPECT_TRUE(child.Read<bool>());
  EXPECT_EQ(std::string_view(child.Read<std::array<char, kRefusalLineBytesMax>>().data()),
            absl::StrCat(kRefusalStart, kRefusesUser, ", and this is uid 65534\n"));
  EXPECT_EQ(child.Read<ssize_t>(), 0) << "closed at once";
  const Refusal refusal = WaitForRefusal();
  EXPECT_EQ(refusal.door, Door::kAdmin);
  EXPECT_EQ(refusal.cause, RefusalCause::kNotAdministrator);
  EXPECT_EQ(refusal.uid, 65534u);
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(admin_, IsEmpty());
}

TEST_F(SessionServerTest, OtherUsersHaveTheirOwnLimit) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  StartServer({.sessions_per_uid_max = 1});
  std::filesystem::permissions(parent_, std::filesystem::perms(0755));
  TestWorker mine(socket_path());
  ASSERT_OK(mine.Open());
  ChildProcess child = SessionOfAnotherUser(socket_path());
  EXPECT_TRUE(child.Read<bool>());
  absl::MutexLock lock(&mu_);
  ASSERT_THAT(opened_, SizeIs(2));
  EXPECT_EQ(opened_[1].uid, 65534u);
  EXPECT_EQ(opened_[1].pid, child.pid());
}

TEST_F(SessionServerTest, RefusalsSayWhatTheUserHoldsAndWhatAllDo) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  // Of two sessions of this user and one of another; a third one is not taken.
  const auto refusal_of = [this](SessionServer::Options options) -> std::string {
    StartServer(std::move(options));
    std::filesystem::permissions(parent_, std::filesystem::perms(0755));
    ChildProcess another_user = SessionOfAnotherUser(socket_path());
    EXPECT_TRUE(another_user.Read<bool>());
    TestWorker a(socket_path());
    TestWorker b(socket_path());
    EXPECT_OK(a.Open());
    EXPECT_OK(b.Open());
    const auto refusal = TestWorker(socket_path()).ReceiveRefusal();
    TearDown();
    EXPECT_OK(refusal);
    return refusal.ok() ? refusal->reason() : "";
  };
  EXPECT_EQ(refusal_of({.sessions_max = 3}),
            "the daemon serves 3 sessions already, of at most 3, and uid 0 has 2 sessions: end "
            "some processes or raise limits.sessions_max in its configuration");
  EXPECT_EQ(refusal_of({.sessions_max = 9, .sessions_per_uid_max = 2}),
            "uid 0 has 2 sessions already, of at most 2, and the daemon serves 3 sessions in all, "
            "of at most 9: end some processes or raise limits.sessions_per_uid_max in the daemon's "
            "configuration");
  EXPECT_EQ(refusal_of({.descriptors_max = 15}),
            "the daemon has no file descriptors to spare: connections of workers hold 9 of at most "
            "9, three quarters of its limit of open files, and those of uid 0 6; end some "
            "processes, or raise LimitNOFILE (15 now)");
}

TEST_F(SessionServerTest, DeathIsToldBeforeTheEnd) {
  StartServer();
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto session = WorkerSession::Connect(parent_ + "/run");
    const uint64_t id = session.ok() ? (*session)->welcome().session_id() : 0;
    if (mmap(nullptr, size_t{256} << 20, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
      _exit(1);
    if (write(ready[1], &id, sizeof(id)) != sizeof(id)) _exit(1);
    while (true) pause();
  }
  uint64_t id = 0;
  ASSERT_EQ(read(ready[0], &id, sizeof(id)), static_cast<ssize_t>(sizeof(id)));
  close(ready[0]);
  close(ready[1]);
  // The worker's word that it holds its futex may still be on its way.
  absl::SleepFor(absl::Seconds(1));
  kill(child, SIGKILL);
  EXPECT_THAT(WaitForEnd({id}), HasSubstr(std::to_string(child)));
  waitpid(child, nullptr, 0);
  absl::MutexLock lock(&mu_);
  ASSERT_EQ(died_.count({id}), 1u);
  EXPECT_THAT(died_.find({id})->second, HasSubstr(absl::StrCat("process ", child, " has died")));
}

// A fork has the parent's sockets and mappings, but neither its threads nor its futexes.
TEST_F(SessionServerTest, ForkOfAWorkerNeitherEndsNorKeepsItsSession) {
  StartServer();
  int told[2];
  int go_on[2];
  ASSERT_EQ(pipe(told), 0);
  ASSERT_EQ(pipe(go_on), 0);
  const pid_t worker = fork();
  if (worker == 0) {
    auto session = WorkerSession::Connect(parent_ + "/run");
    const uint64_t id = session.ok() ? (*session)->welcome().session_id() : 0;
    absl::SleepFor(absl::Milliseconds(200));  // the word that it lives reaches the daemon
    const pid_t short_lived = fork();
    if (short_lived == 0) _exit(0);
    waitpid(short_lived, nullptr, 0);
    const pid_t long_lived = fork();
    if (long_lived == 0) {
      char byte;
      close(go_on[1]);
      [[maybe_unused]] const ssize_t got = read(go_on[0], &byte, 1);  // until the test is over
      _exit(0);
    }
    // So that its end takes a while, and its death is told first.
    if (mmap(nullptr, size_t{256} << 20, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
      _exit(1);
    if (write(told[1], &id, sizeof(id)) != sizeof(id)) _exit(1);
    while (true) pause();
  }
  uint64_t id = 0;
  ASSERT_EQ(read(told[0], &id, sizeof(id)), static_cast<ssize_t>(sizeof(id)));
  EXPECT_EQ(server_->session_count(), 1) << "the end of a fork ended it";
  {
    absl::MutexLock lock(&mu_);
    EXPECT_EQ(died_.count({id}), 0u);
  }
  kill(worker, SIGKILL);
  EXPECT_NE(WaitForEnd({id}), "") << "a fork that lives keeps it alive";
  {
    absl::MutexLock lock(&mu_);
    EXPECT_EQ(died_.count({id}), 1u);
  }
  for (const int fd : {told[0], told[1], go_on[0], go_on[1]}) close(fd);
  waitpid(worker, nullptr, 0);
}

// The pidfd says nothing then, and the fork still holds the socket.
TEST_F(SessionServerTest, WorkerThatExecutesAnotherProgramEndsThoughAForkOfItLives) {
  StartServer({.dying_timeout = absl::Milliseconds(200)});
  std::array<int, 2> told;
  std::array<int, 2> go_on;
  ASSERT_EQ(pipe(told.data()), 0);
  ASSERT_EQ(pipe(go_on.data()), 0);
  const pid_t worker = fork();
  if (worker == 0) {
    close(go_on[1]);
    auto session = WorkerSession::Connect(parent_ + "/run");
    const uint64_t id = session.ok() ? (*session)->welcome().session_id() : 0;
    const UniqueFd control = ConnectTo(dir_->control_socket_path(), SOCK_STREAM);
    absl::SleepFor(absl::Milliseconds(200));  // the word that it lives reaches the daemon
    char byte;
    if (fork() == 0) {
      [[maybe_unused]] const ssize_t got = read(go_on[0], &byte, 1);  // until the test is over
      _exit(0);
    }
    if (write(told[1], &id, sizeof(id)) != sizeof(id)) _exit(1);
    execl("/bin/sleep", "sleep", "60", nullptr);
    _exit(1);
  }
  uint64_t id = 0;
  ASSERT_EQ(read(told[0], &id, sizeof(id)), static_cast<ssize_t>(sizeof(id)));
  EXPECT_THAT(WaitForEnd({id}), AllOf(HasSubstr("executed another program"), HasSubstr("200ms")));
  EXPECT_EQ(EndOf({id}), SessionEnd::kExecuted);
  {
    absl::MutexLock lock(&mu_);
    char byte;
    ASSERT_EQ(control_.size(), 1u);
    EXPECT_EQ(recv(control_[0].get(), &byte, 1, MSG_DONTWAIT), 0)
        << "the fork keeps its control connection";
  }
  EXPECT_EQ(kill(worker, SIGKILL), 0);
  EXPECT_EQ(waitpid(worker, nullptr, 0), worker);
  for (const int fd : {told[0], told[1], go_on[0], go_on[1]}) close(fd);
}

// Or it would hold places of its user's for as long as it likes.
TEST_F(SessionServerTest, ForkOfAWorkerDoesNotKeepItsControlConnections) {
  StartServer();
  std::array<int, 2> go_on;
  ASSERT_EQ(pipe(go_on.data()), 0);
  const pid_t worker = fork();
  if (worker == 0) {
    close(go_on[1]);
    TestWorker session(socket_path());
    const UniqueFd control = ConnectTo(dir_->control_socket_path(), SOCK_STREAM);
    if (!session.Open().ok()) _exit(1);
    char byte;
    if (fork() != 0) pause();
    [[maybe_unused]] const ssize_t got = read(go_on[0], &byte, 1);  // until the test is over
    _exit(0);
  }
  ASSERT_TRUE(Eventually([&] { return ControlCount() == 1 && server_->session_count() == 1; }));
  absl::SleepFor(absl::Milliseconds(100));  // it forks
  ASSERT_EQ(kill(worker, SIGKILL), 0);
  ASSERT_EQ(waitpid(worker, nullptr, 0), worker);
  EXPECT_TRUE(Eventually([&] {
    absl::MutexLock lock(&mu_);
    char byte;
    return recv(control_[0].get(), &byte, 1, MSG_DONTWAIT) == 0;
  }));
  for (const int fd : go_on) close(fd);
}

TEST_F(SessionServerTest, DescriptorsThatAUserDoesNotTakeAreBoundedOverAllItsSessions) {
  StartServer();
  const int before = CountOpenFds();
  // Each takes its first transfer, since that is sent at once, and none after it.
  std::vector<std::unique_ptr<TestWorker>> workers;
  std::vector<SessionId> sessions;
  for (int i = 0; i < 8; ++i) {
    workers.push_back(std::make_unique<TestWorker>(socket_path()));
    const auto welcome = workers.back()->Open();
    ASSERT_OK(welcome);
    sessions.push_back({welcome->session_id()});
  }
  const UniqueFd file = MakeFile("x");
  for (size_t transfer = 0; transfer < kTransfersQueuedMax; ++transfer) {
    for (const SessionId session : sessions) {
      std::vector<UniqueFd> fds;
      for (size_t i = 0; i < kFrameFdsMax; ++i) fds.push_back(file.Duplicate());
      server_->Send(session, std::move(fds));
      EXPECT_LT(CountOpenFds() - before, static_cast<int>(kFdsQueuedPerUidMax) + 500);
    }
  }
  EXPECT_TRUE(Eventually([&] { return EndedCount() > 0; })) << "nobody was ended";
  workers.clear();
  EXPECT_TRUE(Eventually([&] { return server_->session_count() == 0; }));
  // All are closed, those that were never sent too.
  EXPECT_TRUE(Eventually([&] { return CountOpenFds() <= before + 2; }))
      << CountOpenFds() << " instead of " << before;
  TestWorker later(socket_path());
  ASSERT_OK(later.Open());
}

TEST_F(SessionServerTest, ConnectionsOfAllLeaveDescriptorsToTheDaemon) {
  // Eighteen for connections: two sessions, and six of gRPC's.
  StartServer({.descriptors_max = 24});
  std::vector<TestWorker> workers;
  for (int i = 0; i < 2; ++i) ASSERT_OK(workers.emplace_back(socket_path()).Open());
  std::vector<UniqueFd> calls;
  for (size_t i = 1; i <= 6; ++i) {
    calls.push_back(ConnectTo(dir_->control_socket_path(), SOCK_STREAM));
    ASSERT_TRUE(Eventually([&] { return ControlCount() == i; }));
  }
  const UniqueFd over = ConnectTo(dir_->control_socket_path(), SOCK_STREAM);
  char byte;
  EXPECT_EQ(recv(over.get(), &byte, 1, 0), 0) << "closed at once";
  TestWorker refused(socket_path());
  refused.SendHello(kVersionMajor, kVersionMinor).IgnoreError();  // it may be refused before
  const auto refusal = refused.ReceiveRefusal();
  ASSERT_OK(refusal);
  EXPECT_THAT(refusal->reason(), HasSubstr("no file descriptors to spare"));
  EXPECT_THAT(WaitForRefusal().reason,
              AllOf(HasSubstr("hold 18 of at most 18"), HasSubstr("LimitNOFILE (24 now)")));
  // Administrators find some, and so does who comes later.
  const UniqueFd admin = ConnectTo(dir_->admin_socket_path(), SOCK_STREAM);
  EXPECT_TRUE(Eventually([&] {
    absl::MutexLock lock(&mu_);
    return admin_.size() == 1;
  }));
  workers.pop_back();
  EXPECT_TRUE(Eventually([&] { return TestWorker(socket_path()).Open().ok(); }));
}

TEST_F(SessionServerTest, WorkerForWhomNoDescriptorIsLeftIsToldWhatToRaise) {
  StartServer();
  TestWorker there(socket_path());
  ASSERT_OK(there.Open());
  const UniqueFd call = ConnectTo(dir_->control_socket_path(), SOCK_STREAM);
  ASSERT_TRUE(Eventually([&] { return ControlCount() == 1; }));
  // Another user's sessions, where that can be.
  std::filesystem::permissions(parent_, std::filesystem::perms(0755));
  ChildProcess another_user = SessionOfAnotherUser(socket_path());
  const int of_another = geteuid() == 0 && another_user.Read<bool>() ? 3 : 0;
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = dup(0);
  close(next);
  // For the worker's socket and the server's end of it, but no pidfd.
  const rlimit few = {.rlim_cur = static_cast<rlim_t>(next + 2), .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  TestWorker worker(socket_path());
  const Refusal told = WaitForRefusal();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(told.cause, RefusalCause::kLimit);
  EXPECT_THAT(told.reason,
              HasSubstr(absl::StrCat("cannot watch the process: pidfd of process ", getpid(),
                                     ": Too many open files: raise "
                                     "LimitNOFILE (now ",
                                     next + 2, ", all in use); connections of uid ", geteuid(),
                                     " hold 5 of them, those of all workers ", 5 + of_another)));
}

TEST_F(SessionServerTest, DescriptorsThatWaitForAllWorkersAreBounded) {
  StartServer({.descriptors_max = 80});
  TestWorker worker(socket_path());
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  const SessionId session{welcome->session_id()};
  // One in flight, which is not taken; of those that wait there may be ten.
  server_->Send(session, OneFile("x"));
  ASSERT_OK(worker.Receive());
  for (int i = 0; i < 10; ++i) server_->Send(session, OneFile("x"));
  TestWorker other(socket_path());
  ASSERT_OK(other.Open());
  EXPECT_EQ(EndedCount(), 0u);
  server_->Send(session, OneFile("x"));
  EXPECT_THAT(WaitForEnd(session), HasSubstr("10 for all processes"));
}

TEST_F(SessionServerTest, ConnectionsAreLimitedInTime) {
  StartServer({.connections_per_uid_per_second = 1});  // ten at once
  for (int i = 0; i < 10; ++i) {
    TestWorker worker(socket_path());
    ASSERT_OK(worker.Open()) << i;
  }
  TestWorker refused(socket_path());
  refused.SendHello(kVersionMajor, kVersionMinor).IgnoreError();  // likewise
  const auto refusal = refused.ReceiveRefusal();
  ASSERT_OK(refusal);
  EXPECT_THAT(refusal->reason(), HasSubstr("connects too often"));
  EXPECT_EQ(WaitForRefusal().cause, RefusalCause::kRate);
  EXPECT_FALSE(refusal->session_unknown());
}

TEST_F(SessionServerTest, StuckThreadTakesNoTurns) {
  StartServer();
  EXPECT_TRUE(server_->TakesTurns(kTestTimeout));
  {
    // Who handles its events hangs: here, for want of a lock.
    absl::MutexLock lock(&mu_);
    const UniqueFd connection = ConnectTo(dir_->control_socket_path(), SOCK_STREAM);
    ASSERT_TRUE(connection.valid());
    EXPECT_TRUE(Eventually([&] { return !server_->TakesTurns(absl::Milliseconds(50)); }));
  }
  EXPECT_TRUE(server_->TakesTurns(kTestTimeout));
  server_->Stop();
  EXPECT_FALSE(server_->TakesTurns(absl::Milliseconds(50)));
}

class SessionRestart : public SessionServerTest {
 protected:
  SessionServer::Options WithRecords(absl::Duration resume_timeout = absl::Seconds(20)) {
    records_ = parent_ + "/sessions";
    std::filesystem::create_directory(records_);
    SessionServer::Options options;
    options.records_dir = records_;
    options.sessions_per_uid_max = sessions_per_uid_max_;
    options.resume_timeout = resume_timeout;
    return options;
  }
  // As a kill leaves it: the records stay.
  void KillAndRestart(absl::Duration resume_timeout = absl::Seconds(20)) {
    const std::string kept = parent_ + "/kept";
    std::filesystem::copy(records_, kept);
    server_ = nullptr;
    dir_ = nullptr;
    {
      absl::MutexLock lock(&mu_);
      ended_.clear();  // what the orderly end said
    }
    std::filesystem::remove_all(records_);
    std::filesystem::rename(kept, records_);
    StartServer(WithRecords(resume_timeout));
  }
  // As if the daemon had been killed before the worker `child`, which nobody has waited for yet.
  void LeaveRecordOfDeadWorker(pid_t& child) {
    std::array<int, 2> opened;
    ASSERT_EQ(pipe(opened.data()), 0);
    child = fork();
    if (child == 0) {
      TestWorker worker(socket_path());
      const bool ok = worker.Open().ok();
      if (write(opened[1], "", ok ? 1 : 0) != 1) _exit(1);
      pause();
    }
    char byte;
    ASSERT_EQ(read(opened[0], &byte, 1), 1);
    close(opened[0]);
    close(opened[1]);
    std::filesystem::copy(records_, parent_ + "/early");
    kill(child, SIGKILL);
    EXPECT_TRUE(Eventually([&] { return EndedCount() == 1; }));
    std::filesystem::remove_all(records_);
    std::filesystem::rename(parent_ + "/early", records_);
  }
  static absl::Status SendResume(TestWorker& worker, const v1::SessionWelcome& welcome,
                                 int minor = kVersionMinor) {
    v1::SessionHello hello;
    hello.mutable_version()->set_major(kVersionMajor);
    hello.mutable_version()->set_minor(minor);
    hello.mutable_resume()->set_session_id(welcome.session_id());
    hello.mutable_resume()->set_token(welcome.token());
    return worker.Send(FrameType::kHello, 0, hello.SerializeAsString());
  }

  // Two of two that are allowed, when a daemon is killed; whoever comes first.
  void ExpectAllToComeBack(int allowed_since) {
    sessions_per_uid_max_ = 2;
    StartServer(WithRecords());
    std::vector<v1::SessionWelcome> welcomes;
    {
      TestWorker a(socket_path());
      TestWorker b(socket_path());
      welcomes.push_back(*a.Open());
      welcomes.push_back(*b.Open());
      sessions_per_uid_max_ = allowed_since;
      KillAndRestart();
    }
    ExpectNoRoomForAnother();
    TestWorker a(socket_path());
    TestWorker b(socket_path());
    // As many as are away, and no more, need not say at once which they are.
    TestWorker silent(socket_path());
    EXPECT_THAT(silent.ReceiveRefusal()->reason(), HasSubstr("has 2 sessions"));
    for (TestWorker* worker : {&a, &b}) {
      ASSERT_OK(SendResume(*worker, welcomes[worker == &a ? 0 : 1]));
      EXPECT_EQ(worker->Receive()->type, FrameType::kWelcome);
      // Nor by those that are on their way.
      TestWorker over(socket_path());
      EXPECT_THAT(over.ReceiveRefusal()->reason(), HasSubstr("has 2 sessions"));
      ASSERT_OK(worker->Send(FrameType::kAlive));
    }
    ExpectNoRoomForAnother();
    EXPECT_EQ(EndedCount(), 0u);
  }
  void ExpectNoRoomForAnother() {
    TestWorker another(socket_path());
    // It may be refused before.
    another.SendHello(kVersionMajor, kVersionMinor).IgnoreError();
    EXPECT_THAT(another.ReceiveRefusal()->reason(),
                HasSubstr(absl::StrCat("has 2 sessions already, of at most ", sessions_per_uid_max_,
                                       ", and the daemon serves 2 sessions in all")));
  }

  std::string records_;
  int sessions_per_uid_max_ = 256;
};

TEST_F(SessionRestart, WorkerGoesOnWithItsSession) {
  StartServer(WithRecords());
  TestWorker before(socket_path());
  const auto welcome = before.Open();
  ASSERT_OK(welcome);
  KillAndRestart();
  EXPECT_THAT(server_->Sessions(), testing::ElementsAre(SessionId{welcome->session_id()}));
  TestWorker after(socket_path());
  ASSERT_OK(SendResume(after, *welcome));
  const auto frame = after.Receive();
  ASSERT_OK(frame);
  ASSERT_EQ(frame->type, FrameType::kWelcome);
  v1::SessionWelcome again;
  ASSERT_TRUE(again.ParseFromString(frame->payload));
  EXPECT_EQ(again.session_id(), welcome->session_id());
  EXPECT_GT(again.last_transfer_id(), welcome->last_transfer_id());
  ASSERT_OK(after.Send(FrameType::kAlive));
  // It is a session like any other.
  const auto caller = server_->FindByToken(welcome->token());
  ASSERT_TRUE(caller.has_value());
  EXPECT_EQ(caller->pid, getpid());
  const uint64_t id = server_->Send(caller->session, OneFile("hello"));
  const auto transfer = after.Receive();
  ASSERT_OK(transfer);
  EXPECT_EQ(transfer->transfer_id, id);
  after.Close();
  EXPECT_NE(WaitForEnd(caller->session), "");
  EXPECT_TRUE(std::filesystem::is_empty(records_));
}

TEST_F(SessionRestart, WorkerThatComesBackGetsWhatWasSentToItMeanwhile) {
  StartServer(WithRecords());
  TestWorker before(socket_path());
  const auto welcome = before.Open();
  ASSERT_OK(welcome);
  KillAndRestart();
  const uint64_t id = server_->Send({welcome->session_id()}, OneFile("meanwhile"));
  // Another worker's answer says that the server has looked at what is queued.
  TestWorker other(socket_path());
  ASSERT_OK(other.Open());
  TestWorker after(socket_path());
  ASSERT_OK(SendResume(after, *welcome));
  const auto answer = after.Receive();
  ASSERT_OK(answer);
  ASSERT_EQ(answer->type, FrameType::kWelcome);
  ASSERT_OK(after.Send(FrameType::kAlive));
  const auto transfer = after.Receive();
  ASSERT_OK(transfer);
  EXPECT_EQ(transfer->transfer_id, id);
  ASSERT_THAT(transfer->fds, SizeIs(1));
  EXPECT_EQ(ContentOf(transfer->fds[0]), "meanwhile");
}

// It says that it is alive once a connection, and so as often as it comes back.
TEST_F(SessionRestart, LibraryKeepsItsSessionOverManyRestarts) {
  StartServer(WithRecords());
  const auto session = WorkerSession::Connect(parent_ + "/run");
  ASSERT_OK(session);
  const WorkerSession::Expectation expects(**session);
  const SessionId id{(*session)->welcome().session_id()};
  for (int restart = 0; restart < 4; ++restart) {
    KillAndRestart();
    ASSERT_TRUE(Eventually([&] {
      absl::MutexLock lock(&mu_);
      return opened_.size() == static_cast<size_t>(restart) + 2;
    }));
    ASSERT_OK((*session)->EnsureConnected(kTestTimeout));
    for (int i = 0; i < 20; ++i) {
      const uint64_t transfer = server_->Send(id, OneFile("hello"));
      ASSERT_OK((*session)->TakeTransfer(transfer, SteadyNow() + kTestTimeout));
    }
    EXPECT_EQ(EndedCount(), 0u);
  }
}

// The welcome was lost on the way, or the worker could not take it.
TEST_F(SessionRestart, WorkerThatLosesItsConnectionOnTheWayComesBackAgain) {
  StartServer(WithRecords());
  TestWorker before(socket_path());
  const auto welcome = before.Open();
  ASSERT_OK(welcome);
  KillAndRestart();
  const uint64_t id = server_->Send({welcome->session_id()}, OneFile("meanwhile"));
  {
    TestWorker lost(socket_path());
    ASSERT_OK(SendResume(lost, *welcome));
    ASSERT_OK(lost.Receive());
  }
  // This one's end has not been noticed when the next comes, since there is none.
  TestWorker given_up(socket_path());
  ASSERT_OK(SendResume(given_up, *welcome));
  ASSERT_OK(given_up.Receive());
  TestWorker after(socket_path());
  ASSERT_OK(SendResume(after, *welcome));
  const auto answer = after.Receive();
  ASSERT_OK(answer);
  ASSERT_EQ(answer->type, FrameType::kWelcome);
  EXPECT_TRUE(given_up.IsClosed());
  ASSERT_OK(after.Send(FrameType::kAlive));
  const auto transfer = after.Receive();
  ASSERT_OK(transfer);
  EXPECT_EQ(transfer->transfer_id, id);
  EXPECT_EQ(EndedCount(), 0u);
  after.Close();
  EXPECT_THAT(WaitForEnd({welcome->session_id()}), HasSubstr("closed its session"));
}

TEST_F(SessionRestart, WorkerThatLosesItsConnectionOnTheWayHasNoMoreTimeForIt) {
  StartServer(WithRecords());
  TestWorker before(socket_path());
  const auto welcome = before.Open();
  ASSERT_OK(welcome);
  KillAndRestart(absl::Milliseconds(300));
  {
    TestWorker lost(socket_path());
    ASSERT_OK(SendResume(lost, *welcome));
    ASSERT_OK(lost.Receive());
  }
  EXPECT_THAT(WaitForEnd({welcome->session_id()}), HasSubstr("did not come back"));
}

TEST_F(SessionRestart, AllComeBackThoughTheDaemonIsFull) { ExpectAllToComeBack(2); }

TEST_F(SessionRestart, AllComeBackThoughFewerAreAllowedSince) { ExpectAllToComeBack(1); }

// Else a worker that stands still just there would count as one that lives.
TEST_F(SessionRestart, WorkerThatComesBackHalfwayEndsInTime) {
  StartServer(WithRecords());
  TestWorker before(socket_path());
  const auto welcome = before.Open();
  ASSERT_OK(welcome);
  KillAndRestart(absl::Milliseconds(300));
  TestWorker halfway(socket_path());
  ASSERT_OK(SendResume(halfway, *welcome));
  ASSERT_EQ(halfway.Receive()->type, FrameType::kWelcome);
  EXPECT_THAT(WaitForEnd({welcome->session_id()}), HasSubstr("did not say that it is alive"));
}

TEST_F(SessionRestart, TimeToComeBackBeginsWhenTheServerTakesWorkers) {
  delay_before_start_ = absl::Milliseconds(400);
  StartServer(WithRecords());
  TestWorker before(socket_path());
  const auto welcome = before.Open();
  ASSERT_OK(welcome);
  KillAndRestart(absl::Milliseconds(300));
  TestWorker after(socket_path());
  ASSERT_OK(SendResume(after, *welcome));
  const auto answer = after.Receive();
  ASSERT_OK(answer);
  EXPECT_EQ(answer->type, FrameType::kWelcome);
}

TEST_F(SessionRestart, WorkerThatDoesNotComeBackEnds) {
  StartServer(WithRecords());
  TestWorker before(socket_path());
  const auto welcome = before.Open();
  ASSERT_OK(welcome);
  KillAndRestart(absl::Milliseconds(50));
  EXPECT_THAT(WaitForEnd({welcome->session_id()}), HasSubstr("did not come back"));
  EXPECT_EQ(EndOf({welcome->session_id()}), SessionEnd::kNotResumed);
  TestWorker late(socket_path());
  ASSERT_OK(SendResume(late, *welcome));
  const auto refusal = late.ReceiveRefusal();
  ASSERT_OK(refusal);
  EXPECT_TRUE(refusal->session_unknown());
}

TEST_F(SessionRestart, WorkerWhoseRecordSomebodyRemovedIsToldOf) {
  for (const Predecessor predecessor : {Predecessor::kKilled, Predecessor::kEndedInOrder}) {
    SessionServer::Options options = WithRecords();
    options.predecessor = predecessor;
    StartServer(std::move(options));
    TestWorker other(socket_path());
    const auto welcome = other.Open();
    ASSERT_OK(welcome);
    v1::SessionWelcome removed = *welcome;
    removed.set_session_id(welcome->session_id() + 1);
    TestWorker worker(socket_path());
    ASSERT_OK(SendResume(worker, removed));
    const auto refusal = worker.ReceiveRefusal();
    ASSERT_OK(refusal);
    EXPECT_TRUE(refusal->session_unknown());
    const Refusal told = WaitForRefusal();
    if (predecessor == Predecessor::kKilled) {
      EXPECT_EQ(told.cause, RefusalCause::kNoRecord);
      EXPECT_THAT(told.reason, AllOf(HasSubstr(records_), HasSubstr("restart their workers")));
    } else {
      EXPECT_EQ(told.cause, RefusalCause::kUnknownSession);
    }
    server_ = nullptr;
    dir_ = nullptr;
    absl::MutexLock lock(&mu_);
    refusals_.clear();
  }
}

TEST_F(SessionRestart, WorkerWhoseSessionEndedMeanwhileIsNoneWithoutRecord) {
  SessionServer::Options options = WithRecords();
  options.predecessor = Predecessor::kKilled;
  StartServer(std::move(options));
  TestWorker worker(socket_path());
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  worker.Close();
  EXPECT_NE(WaitForEnd({welcome->session_id()}), "");
  TestWorker late(socket_path());
  ASSERT_OK(SendResume(late, *welcome));
  ASSERT_OK(late.ReceiveRefusal());
  EXPECT_EQ(WaitForRefusal().cause, RefusalCause::kUnknownSession);
}

TEST_F(SessionRestart, DirectoryInPlaceOfARecordIsToldOfOnce) {
  SessionServer::Options options = WithRecords();
  const std::string path = records_ + "/0000000000000001.session";
  std::filesystem::create_directories(path + "/something");
  StartServer(std::move(options));
  ASSERT_THAT(server_->LostSessions(), SizeIs(1));
  EXPECT_THAT(server_->LostSessions()[0].cause,
              AllOf(HasSubstr(path + " is a directory, not a file"),
                    HasSubstr("it is now " + path + ".set-aside; remove that")));
  server_ = nullptr;
  dir_ = nullptr;
  StartServer(WithRecords());
  EXPECT_THAT(server_->LostSessions(), IsEmpty());
}

TEST_F(SessionRestart, WorkerIsToldThatTheDaemonCannotKeepARecord) {
  StartServer(WithRecords());
  std::filesystem::remove_all(records_);
  TestWorker worker(socket_path());
  ASSERT_OK(worker.SendHello(kVersionMajor, kVersionMinor));
  const auto refusal = worker.ReceiveRefusal();
  ASSERT_OK(refusal);
  EXPECT_TRUE(refusal->daemon_failed());
  EXPECT_THAT(refusal->reason(), AllOf(HasSubstr("its record cannot be written"),
                                       HasSubstr(records_), HasSubstr("No such file")));
  EXPECT_EQ(WaitForRefusal().cause, RefusalCause::kFailure);
}

// In a mount namespace that a thread of its own enters and the server's inherits.
TEST_F(SessionRestart, WorkerForWhoseRecordThereIsNoRoomIsToldWhatIsHeld) {
  bool may_mount = true;
  std::thread([&] {
    SessionServer::Options options = WithRecords();
    may_mount = unshare(CLONE_NEWNS) == 0 &&
                mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                mount("tmpfs", records_.c_str(), "tmpfs", 0, "size=64k") == 0;
    if (!may_mount) return;
    StartServer(std::move(options));
    std::filesystem::permissions(parent_, std::filesystem::perms(0755));
    ChildProcess another_user = SessionOfAnotherUser(socket_path());
    EXPECT_TRUE(another_user.Read<bool>());
    TestWorker there(socket_path());
    EXPECT_OK(there.Open());
    std::ofstream(records_ + "/filler") << std::string(size_t{1} << 20, 'x');
    TestWorker worker(socket_path());
    EXPECT_OK(worker.SendHello(kVersionMajor, kVersionMinor));
    const auto refusal = worker.ReceiveRefusal();
    EXPECT_OK(refusal);
    if (refusal.ok()) {
      EXPECT_FALSE(refusal->daemon_failed()) << "it is for the user to end some";
      EXPECT_THAT(
          refusal->reason(),
          AllOf(HasSubstr("cannot open a session: its record cannot be written: "),
                HasSubstr("No space left on device (of its file system 0 of 65536 bytes are free"),
                HasSubstr("; uid 0 has 1 sessions, and the daemon serves 2 sessions in all, of at "
                          "most 1024; nodecommctl doctor")));
    }
    TearDown();
  }).join();
  if (!may_mount) GTEST_SKIP() << "not allowed to mount";
}

// The daemon was replaced by one of a version that is too far away.
TEST_F(SessionRestart, WorkerOfAVersionThatIsNotServedEndsAtOnce) {
  StartServer(WithRecords());
  TestWorker before(socket_path());
  const auto welcome = before.Open();
  ASSERT_OK(welcome);
  KillAndRestart();
  v1::SessionWelcome of_another = *welcome;
  of_another.set_token(std::string(32, 'x'));
  TestWorker stranger(socket_path());
  ASSERT_OK(SendResume(stranger, of_another, kVersionMinor + 2));
  ASSERT_OK(stranger.ReceiveRefusal());
  EXPECT_EQ(EndedCount(), 0u);
  TestWorker after(socket_path());
  ASSERT_OK(SendResume(after, *welcome, kVersionMinor + 2));
  ASSERT_OK(after.ReceiveRefusal());
  EXPECT_THAT(WaitForEnd({welcome->session_id()}), HasSubstr("install matching versions"));
}

// A process that has died and that its parent has not waited for still has its number and its
// start.
TEST_F(SessionRestart, ProcessThatIsDeadButNotGoneIsNotWaitedFor) {
  StartServer(WithRecords());
  pid_t child = 0;
  LeaveRecordOfDeadWorker(child);
  KillAndRestart(absl::Hours(1));
  EXPECT_TRUE(Eventually([&] { return EndedCount() == 1; }));
  waitpid(child, nullptr, 0);
}

TEST_F(SessionRestart, NobodyElseGetsTheSession) {
  StartServer(WithRecords());
  TestWorker before(socket_path());
  const auto welcome = before.Open();
  ASSERT_OK(welcome);
  KillAndRestart();
  const auto refused = [&](const v1::SessionWelcome& claim) {
    TestWorker thief(socket_path());
    EXPECT_OK(SendResume(thief, claim));
    const auto refusal = thief.ReceiveRefusal();
    return refusal.ok() && refusal->session_unknown();
  };
  v1::SessionWelcome wrong = *welcome;
  wrong.set_token(std::string(32, 'x'));
  EXPECT_TRUE(refused(wrong));
  wrong = *welcome;
  wrong.set_session_id(welcome->session_id() + 1);
  EXPECT_TRUE(refused(wrong));
  // With the right token, but another process.
  const pid_t child = fork();
  if (child == 0) _exit(refused(*welcome) ? 0 : 1);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "a child went on with its parent's session";
  // The owner does, and only once.
  TestWorker owner(socket_path());
  ASSERT_OK(SendResume(owner, *welcome));
  ASSERT_OK(owner.Receive());
  ASSERT_OK(owner.Send(FrameType::kAlive));
  EXPECT_TRUE(refused(*welcome));
}

TEST_F(SessionRestart, RecordsAreKeptWhereTheyCannotBeReadForWantOfDescriptors) {
  WithRecords();  // makes the directory
  const SessionRecords records(records_);
  ASSERT_OK(records.Add({.session = {7}, .uid = geteuid(), .pid = getpid()}, Token{}));
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = dup(0);
  close(next);
  int failed = 0;
  for (int more = 0; more < 8; ++more) {
    const rlimit few = {.rlim_cur = static_cast<rlim_t>(next + more), .rlim_max = before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    const auto found = records.TakeOver();
    failed += found.ok() && found->known.size() == 1 ? 0 : 1;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_FALSE(std::filesystem::is_empty(records_)) << "with " << more << " descriptors";
  }
  EXPECT_GE(failed, 2);
  EXPECT_THAT(records.TakeOver()->known, SizeIs(1));
}

TEST_F(SessionRestart, RecordThatWasNotFinishedIsRemoved) {
  WithRecords();  // makes the directory
  const std::string unfinished = records_ + "/0000000000000007.session.new";
  std::ofstream(unfinished) << "ha";
  const auto found = SessionRecords(records_).TakeOver();
  ASSERT_OK(found);
  EXPECT_THAT(found->known, IsEmpty());
  EXPECT_THAT(found->lost, IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(unfinished));
}

TEST_F(SessionRestart, DamagedRecordIsNamedAndRemoved) {
  WithRecords();  // makes the directory
  const SessionRecords records(records_);
  ASSERT_OK(records.Add({.session = {7}, .uid = geteuid(), .pid = getpid()}, Token{}));
  const std::string path = records_ + "/0000000000000007.session";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  std::filesystem::copy(path, records_ + "/none.session");
  const auto found = records.TakeOver();
  ASSERT_OK(found);
  EXPECT_THAT(found->known, IsEmpty());
  ASSERT_THAT(found->lost, SizeIs(2));
  const auto named = std::find_if(found->lost.begin(), found->lost.end(), [](const auto& lost) {
    return lost.caller.session == SessionId{7};
  });
  ASSERT_NE(named, found->lost.end());
  EXPECT_EQ(named->end, SessionEnd::kNotTakenOver);
  EXPECT_THAT(named->cause, HasSubstr(path));
  EXPECT_TRUE(std::filesystem::is_empty(records_));
}

TEST_F(SessionRestart, ProcessThatEndedMeanwhileIsForgotten) {
  StartServer(WithRecords());
  pid_t child = 0;
  LeaveRecordOfDeadWorker(child);
  waitpid(child, nullptr, 0);
  KillAndRestart();
  EXPECT_THAT(server_->Sessions(), IsEmpty());
  ASSERT_THAT(server_->LostSessions(), SizeIs(1));
  EXPECT_EQ(server_->LostSessions()[0].caller.pid, child);
  EXPECT_EQ(server_->LostSessions()[0].end, SessionEnd::kProcessEnded);
  EXPECT_TRUE(std::filesystem::is_empty(records_));
}

}  // namespace
}  // namespace nodecomm
