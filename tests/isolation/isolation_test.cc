// What a user gets of another's groups from a shared daemon: nothing. Real processes under real
// user ids against the real daemon; each attacker knows more than it could (the victim's
// generation, its token, its name). Needs root, to become others.

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/base/version.h"
#include "nodecomm/v1/control.grpc.pb.h"
#include "proto/control_page.h"
#include "tests/daemon/session/hostile_fds.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/isolation/other_users.h"
#include "tests/support/daemon_process.h"
#include "tests/support/status_matchers.h"

namespace nodecomm {
namespace {

constexpr uid_t kVictim = 60001;
constexpr uid_t kAttacker = 60002;
constexpr uid_t kRoot = 0;
constexpr char kGroup[] = "victims-group";

std::string GpuUuid(int gpu) {
  return absl::StrCat("GPU-51000000-0000-4000-8000-00000000000", gpu);
}

// What one process needs to speak to the daemon, without the library's good manners.
class Client {
 public:
  explicit Client(const std::string& dir)
      : worker_(dir + "/session.sock"),
        stub_(v1::Control::NewStub(grpc::CreateChannel("unix:" + dir + "/control.sock",
                                                       grpc::InsecureChannelCredentials()))) {}

  bool Open() {
    const auto welcome = worker_.Open();
    if (!welcome.ok()) return false;
    welcome_ = *welcome;
    token_ = welcome_.token();
    return true;
  }
  TestWorker& worker() { return worker_; }
  const v1::SessionWelcome& welcome() const { return welcome_; }
  void UseToken(const std::string& token) { token_ = token; }

  template <typename Request, typename Response>
  grpc::StatusCode Call(grpc::Status (v1::Control::Stub::*method)(grpc::ClientContext*,
                                                                  const Request&, Response*),
                        const Request& request, Response* response = nullptr) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    // Under a flood the listener's queue is full at times.
    context.set_wait_for_ready(true);
    context.AddMetadata("nodecomm-session-token", absl::BytesToHexString(token_));
    Response unused;
    return (stub_.get()->*method)(&context, request, response != nullptr ? response : &unused)
        .error_code();
  }

  grpc::StatusCode Join(int rank, int ranks, v1::JoinGroupResponse* response,
                        int64_t timeout_ms = 10'000) {
    v1::JoinGroupRequest request;
    request.set_name(kGroup);
    request.set_world_size(ranks);
    request.set_rank(rank);
    request.set_gpu_uuid(GpuUuid(rank));
    request.set_plane_abi(1);
    request.set_timeout_ms(timeout_ms);
    return Call(&v1::Control::Stub::JoinGroup, request, response);
  }

 private:
  TestWorker worker_;
  std::unique_ptr<v1::Control::Stub> stub_;
  v1::SessionWelcome welcome_;
  std::string token_;
};

// Everything that a call about a group of this generation can try.
std::vector<grpc::StatusCode> TryAllCalls(Client& client, uint64_t generation) {
  std::vector<grpc::StatusCode> codes;
  for (int rank = 0; rank < 2; ++rank) {
    const auto fill = [&](auto request) {
      request.set_generation(generation);
      request.set_rank(rank);
      return request;
    };
    codes.push_back(client.Call(&v1::Control::Stub::ConfirmGroup, fill(v1::ConfirmGroupRequest())));
    codes.push_back(client.Call(&v1::Control::Stub::LeaveGroup, fill(v1::LeaveGroupRequest())));
    codes.push_back(client.Call(&v1::Control::Stub::AbortGroup, fill(v1::AbortGroupRequest())));
    codes.push_back(client.Call(&v1::Control::Stub::FreeShared, fill(v1::FreeSharedRequest())));
    v1::AllocateSharedRequest allocate = fill(v1::AllocateSharedRequest());
    allocate.set_bytes(2 << 20);
    codes.push_back(client.Call(&v1::Control::Stub::AllocateShared, allocate));
  }
  return codes;
}

bool All(const std::vector<grpc::StatusCode>& codes, grpc::StatusCode expected) {
  for (const grpc::StatusCode code : codes) {
    if (code != expected) return false;
  }
  return !codes.empty();
}

struct Secrets {
  uint64_t generation = 0;
  uint64_t session = 0;
  std::array<char, 32> token = {};
  std::string token_bytes() const { return std::string(token.data(), token.size()); }
};

// Both ranks of a group in one process of kVictim, which lives until it is asked whether all is
// well.
class Victim {
 public:
  explicit Victim(const std::string& dir) {
    int told[2];
    int asked[2];
    EXPECT_EQ(pipe(told), 0);
    EXPECT_EQ(pipe(asked), 0);
    pid_ = fork();
    if (pid_ == 0) {
      close(asked[1]);
      Become(kVictim);
      _exit(Live(dir, told[1], asked[0]));
    }
    close(told[1]);
    close(asked[0]);
    ask_ = UniqueFd(asked[1]);
    const UniqueFd reader(told[0]);
    ready_ = read(reader.get(), &secrets_, sizeof(secrets_)) == sizeof(secrets_);
  }

  bool ready() const { return ready_; }
  pid_t pid() const { return pid_; }
  const Secrets& secrets() const { return secrets_; }

  // Its group stands, and it can still leave it.
  bool IsWell() {
    ask_.Reset();
    int status = 0;
    return waitpid(pid_, &status, 0) == pid_ && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

 private:
  static int Live(const std::string& dir, int told, int asked) {
    Client client(dir);
    if (!client.Open()) return 10;
    std::array<v1::JoinGroupResponse, 2> groups;
    std::array<grpc::StatusCode, 2> codes = {};
    const auto on_each_rank = [](const std::function<void(int)>& act) {
      std::thread other([&] { act(1); });
      act(0);
      other.join();
    };
    on_each_rank([&](int rank) { codes[rank] = client.Join(rank, 2, &groups[rank]); });
    if (codes[0] != grpc::OK || codes[1] != grpc::OK) return 11;
    UniqueFd page;
    for (int i = 0; i < 2; ++i) {
      auto transfer = client.worker().Receive();
      if (!transfer.ok() || transfer->fds.size() != 3) return 12;
      page = std::move(transfer->fds.back());
      if (!client.worker().Ack(transfer->transfer_id).ok()) return 13;
    }
    on_each_rank([&](int rank) {
      v1::ConfirmGroupRequest confirm;
      confirm.set_generation(groups[0].generation());
      confirm.set_rank(rank);
      codes[rank] = client.Call(&v1::Control::Stub::ConfirmGroup, confirm);
    });
    if (codes[0] != grpc::OK || codes[1] != grpc::OK) return 14;
    Secrets secrets;
    secrets.generation = groups[0].generation();
    secrets.session = client.welcome().session_id();
    std::memcpy(secrets.token.data(), client.welcome().token().data(), secrets.token.size());
    if (write(told, &secrets, sizeof(secrets)) != sizeof(secrets)) return 15;
    char byte;
    if (read(asked, &byte, 1) != 0) return 16;
    ControlPage content;
    if (pread(page.get(), &content, sizeof(content), 0) != sizeof(content)) return 17;
    if (content.stop != 0 || content.left_mask != 0) return 18;
    v1::LeaveGroupRequest leave;
    leave.set_generation(secrets.generation);
    return client.Call(&v1::Control::Stub::LeaveGroup, leave) == grpc::OK ? 0 : 19;
  }

  pid_t pid_ = -1;
  UniqueFd ask_;
  bool ready_ = false;
  Secrets secrets_;
};

class Isolation : public testing::TestWithParam<uid_t> {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to become other users";
    auto daemon = DaemonProcess::Start(
        {.program = NODECOMM_DAEMON,
         .topology = NODECOMM_TOPOLOGY,
         .config = "log_level: 'trace' limits { calls_per_uid_per_second: 50 }",
         .keep_log = true});
    ASSERT_OK(daemon);
    daemon_ = *std::move(daemon);
    LetOthersIn(dir());
    victim_ = std::make_unique<Victim>(dir());
    ASSERT_TRUE(victim_->ready());
  }
  void TearDown() override {
    if (victim_ != nullptr) {
      EXPECT_TRUE(victim_->IsWell()) << "the victim's group was harmed";
      EXPECT_OK(daemon_->Stop());  // so that the log is whole
      ExpectNoTokenInTheLog();
    }
  }

  // Whatever the test did, and however its token would have been written.
  void ExpectNoTokenInTheLog() const {
    const std::string log = daemon_->ReadLog();
    const std::string token = secrets().token_bytes();
    EXPECT_THAT(log,
                testing::HasSubstr(absl::StrCat(absl::Hex(secrets().session, absl::kZeroPad16))))
        << "the victim's session, by its id";
    const std::string hex = absl::BytesToHexString(token);
    for (const std::string& written :
         {token, hex, absl::AsciiStrToUpper(hex), absl::CEscape(token), absl::CHexEscape(token),
          absl::Utf8SafeCEscape(token), absl::Base64Escape(token)}) {
      EXPECT_THAT(log, testing::Not(testing::HasSubstr(written)));
      // Nor a good part of it.
      EXPECT_THAT(log, testing::Not(testing::HasSubstr(written.substr(0, written.size() / 2))));
    }
  }

  std::string dir() const { return daemon_->runtime_dir(); }
  const Secrets& secrets() const { return victim_->secrets(); }

  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<Victim> victim_;
};

// Root on the workers' sockets is a user like any other: most containers run as root.
INSTANTIATE_TEST_SUITE_P(By, Isolation, testing::Values(kAttacker, kRoot), [](const auto& info) {
  return info.param == kRoot ? "Root" : "OtherUser";
});

TEST_P(Isolation, GroupsOfOthersAreAsIfTheyWereNotThere) {
  EXPECT_EQ(RunAs(GetParam(),
                  [&] {
                    Client client(dir());
                    if (!client.Open()) return 1;
                    const auto real = TryAllCalls(client, secrets().generation);
                    const auto none = TryAllCalls(client, secrets().generation + 1000);
                    if (!All(real, grpc::NOT_FOUND)) return 2;
                    return real == none ? 0 : 3;
                  }),
            0);
}

TEST_P(Isolation, SameNameIsAnotherGroup) {
  EXPECT_EQ(RunAs(GetParam(),
                  [&] {
                    Client client(dir());
                    if (!client.Open()) return 1;
                    v1::JoinGroupResponse response;
                    // Nobody of its own user comes.
                    return client.Join(1, 2, &response, 100) == grpc::DEADLINE_EXCEEDED ? 0 : 2;
                  }),
            0);
}

TEST_P(Isolation, StolenTokenOpensNothing) {
  EXPECT_EQ(
      RunAs(GetParam(),
            [&] {
              Client client(dir());
              client.UseToken(secrets().token_bytes());
              return All(TryAllCalls(client, secrets().generation), grpc::UNAUTHENTICATED) ? 0 : 1;
            }),
      0);
}

TEST_P(Isolation, StolenSessionCannotBeResumed) {
  EXPECT_EQ(RunAs(GetParam(),
                  [&] {
                    TestWorker thief(dir() + "/session.sock");
                    v1::SessionHello hello;
                    hello.mutable_version()->set_major(kVersionMajor);
                    hello.mutable_version()->set_minor(kVersionMinor);
                    hello.mutable_resume()->set_session_id(secrets().session);
                    hello.mutable_resume()->set_token(secrets().token_bytes());
                    if (!thief.Send(FrameType::kHello, 0, hello.SerializeAsString()).ok()) return 1;
                    const auto refusal = thief.ReceiveRefusal();
                    return refusal.ok() && refusal->session_unknown() ? 0 : 2;
                  }),
            0);
}

TEST_F(Isolation, AnotherProcessOfTheSameUserHoldsNoRank) {
  EXPECT_EQ(
      RunAs(kVictim,
            [&] {
              Client client(dir());
              if (!client.Open()) return 1;
              if (!All(TryAllCalls(client, secrets().generation), grpc::NOT_FOUND)) return 2;
              client.UseToken(secrets().token_bytes());
              return All(TryAllCalls(client, secrets().generation), grpc::UNAUTHENTICATED) ? 0 : 3;
            }),
      0);
}

TEST_F(Isolation, DaemonsFilesAreItsOwn) {
  // As root the victim's secrets are there to be read, so what others find is no lack of files.
  ASSERT_FALSE(std::filesystem::is_empty(dir() + "/groups"));
  ASSERT_FALSE(std::filesystem::is_empty(dir() + "/sessions"));
  std::vector<std::string> files = {dir() + "/groups", dir() + "/sessions", dir() + "/admin",
                                    dir() + "/peer-access.textproto", dir() + "/nodecommd.lock"};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir())) {
    const std::string name = entry.path().filename();
    if (name.ends_with(".control") || name.ends_with(".spare") || name.ends_with(".record") ||
        name.ends_with(".session")) {
      files.push_back(entry.path());
    }
  }
  EXPECT_GE(files.size(), 5u + 3u);
  for (const std::string& file : files) {
    const int code = RunAs(kAttacker, [&] {
      return open(file.c_str(), O_RDONLY) < 0 && open(file.c_str(), O_RDWR) < 0 ? 0 : 1;
    });
    EXPECT_EQ(code, 0) << file;
  }
  EXPECT_EQ(RunAs(kAttacker,
                  [&] {
                    const UniqueFd admin = ConnectTo(dir() + "/admin/admin.sock", SOCK_STREAM);
                    return admin.valid() ? 1 : 0;
                  }),
            0);
}

// What a container's root has, and root who has given everything away but its name.
enum class Powers { kAsTheyAre, kNone };

bool TakePowers(Powers powers) {
  if (powers == Powers::kAsTheyAre) return true;
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none = {};
  return syscall(SYS_capset, &header, none.data()) == 0;
}

// What is wrong if a member that has the page can write it, also by way of /proc.
int TryToWriteThePage(const std::string& dir, Powers powers) {
  Client client(dir);
  if (!client.Open()) return 1;
  v1::JoinGroupResponse group;
  if (client.Join(0, 1, &group) != grpc::OK) return 2;
  auto transfer = client.worker().Receive();
  if (!transfer.ok() || transfer->fds.empty()) return 3;
  if (!TakePowers(powers)) return 8;
  const int page = transfer->fds.back().get();
  const uint32_t one = 1;
  if (pwrite(page, &one, sizeof(one), 64) >= 0) return 4;
  if (mmap(nullptr, kControlPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, page, 0) != MAP_FAILED) {
    return 5;
  }
  const std::string proc = absl::StrCat("/proc/self/fd/", page);
  if (open(proc.c_str(), O_RDWR) >= 0) return 6;
  if (truncate(proc.c_str(), 0) == 0 || ftruncate(page, 0) == 0 || fchmod(page, 0666) == 0) {
    return 7;
  }
  return open(proc.c_str(), O_RDONLY) < 0 && geteuid() == 0 ? 9 : 0;
}

TEST_F(Isolation, ControlPageCannotBeWrittenByItsMembers) {
  EXPECT_EQ(RunAs(kAttacker, [&] { return TryToWriteThePage(dir(), Powers::kAsTheyAre); }), 0);
}

// The file is root's own, and 0600.
TEST_F(Isolation, ControlPageCannotBeWrittenByMembersWhoAreRoot) {
  for (const Powers powers : {Powers::kNone, Powers::kAsTheyAre}) {
    EXPECT_EQ(RunAs(kRoot, [&] { return TryToWriteThePage(dir(), powers); }), 0);
  }
}

// As the unit and the DaemonSet start it: without any capability, as a user of its own.
std::vector<std::string> Unprivileged(bool has_read_only_view) {
  const std::string view =
      has_read_only_view ? "mkdir $3.read-only && mount --bind -o ro $3 $3.read-only && " : "";
  const std::string script =
      "chmod 755 ${3%/*} && mkdir $3 && chown 60004 $3 && " + view +
      "exec setpriv --reuid 60004 --regid 60004 --clear-groups --bounding-set=-all "
      "--inh-caps=-all --pdeathsig KILL \"$@\"";
  return {"/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh"};
}

TEST(UnprivilegedDaemon, ControlPageCannotBeWrittenByRootWhereItHasAReadOnlyView) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become other users";
  if (std::system("unshare --mount true 2>/dev/null") != 0) GTEST_SKIP() << "no mounts here";
  if (RunAs(60004, [] { return access(NODECOMM_DAEMON, X_OK) == 0 ? 0 : 1; }) != 0) {
    GTEST_SKIP() << "the daemon's program is not for everybody here";
  }
  for (const bool has_view : {true, false}) {
    const auto daemon = DaemonProcess::Start({.program = NODECOMM_DAEMON,
                                              .topology = NODECOMM_TOPOLOGY,
                                              .config = "log_level: 'warning'",
                                              .wrapper = Unprivileged(has_view),
                                              .keep_log = true});
    ASSERT_OK(daemon);
    const std::string dir = (*daemon)->runtime_dir();
    const int code = RunAs(kRoot, [&] { return TryToWriteThePage(dir, Powers::kAsTheyAre); });
    const auto warning = testing::HasSubstr("can write the control page");
    if (has_view) {
      EXPECT_EQ(code, 0);
      EXPECT_THAT((*daemon)->ReadLog(), testing::Not(warning));
    } else {
      EXPECT_EQ(code, 6) << "nothing was tried";
      EXPECT_THAT((*daemon)->ReadLog(), warning);
    }
  }
}

// Root in a user namespace of its own is, to the daemon, the user who made the namespace.
TEST_F(Isolation, RootOfAUserNamespaceIsItsMaker) {
  const int code = RunAs(kAttacker, [&] {
    const uid_t uid = geteuid();
    prctl(PR_SET_DUMPABLE, 1);  // or else /proc/self belongs to root since the change of user
    if (unshare(CLONE_NEWUSER) != 0) return 77;
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
    if (geteuid() != 0) return 1;
    Client client(dir());
    if (!client.Open()) return 2;
    if (!All(TryAllCalls(client, secrets().generation), grpc::NOT_FOUND)) return 3;
    return ConnectTo(dir() + "/admin/admin.sock", SOCK_STREAM).valid() ? 4 : 0;
  });
  if (code == 77) GTEST_SKIP() << "no user namespaces here";
  EXPECT_EQ(code, 0);
}

// One who floods gets errors; another is served meanwhile.
TEST_F(Isolation, FloodOfOneUserDoesNotStopAnother) {
  const pid_t flood = fork();
  if (flood == 0) {
    Become(kAttacker);
    std::vector<UniqueFd> kept;
    for (int i = 0;; ++i) {
      UniqueFd socket = ConnectTo(dir() + (i % 2 == 0 ? "/session.sock" : "/control.sock"),
                                  i % 2 == 0 ? SOCK_SEQPACKET : SOCK_STREAM);
      if (!socket.valid()) continue;
      // Nonsense, and then nothing.
      [[maybe_unused]] const ssize_t sent =
          send(socket.get(), "garbage", 7, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (kept.size() < 500) kept.push_back(std::move(socket));
    }
  }
  absl::SleepFor(absl::Milliseconds(300));
  const absl::Time start = absl::Now();
  EXPECT_EQ(RunAs(60003,
                  [&] {
                    Client client(dir());
                    if (!client.Open()) return 1;
                    v1::JoinGroupResponse group;
                    return client.Join(0, 1, &group) == grpc::OK ? 0 : 2;
                  }),
            0);
  RecordProperty("join_beside_flood_ms",
                 static_cast<int>(absl::ToInt64Milliseconds(absl::Now() - start)));
  kill(flood, SIGKILL);
  waitpid(flood, nullptr, 0);
}

// Of one who calls too often, calls fail; others' do not, nor do its own later.
TEST_F(Isolation, CallsAreLimitedInTimeByUser) {
  std::array<int, 2> flooded;
  ASSERT_EQ(pipe(flooded.data()), 0);
  const pid_t caller = fork();
  if (caller == 0) {
    Become(kAttacker);
    Client client(dir());
    const auto call = [&] {
      return client.Call(&v1::Control::Stub::GetHost, v1::GetHostRequest());
    };
    int refused = 0;
    // Five seconds' worth may come at once.
    for (int i = 0; i < 1000 && refused == 0; ++i) {
      const grpc::StatusCode code = call();
      if (code == grpc::RESOURCE_EXHAUSTED) {
        ++refused;
      } else if (code != grpc::OK) {
        _exit(1);
      }
    }
    if (refused == 0) _exit(2);
    if (write(flooded[1], "x", 1) != 1) _exit(3);
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (call() != grpc::OK) {
      if (absl::Now() > deadline) _exit(4);
    }
    _exit(0);
  }
  close(flooded[1]);
  char byte;
  EXPECT_EQ(read(flooded[0], &byte, 1), 1);
  close(flooded[0]);
  EXPECT_EQ(
      RunAs(60003,
            [&] {
              Client client(dir());
              for (int i = 0; i < 20; ++i) {
                if (client.Call(&v1::Control::Stub::GetHost, v1::GetHostRequest()) != grpc::OK) {
                  return 1;
                }
              }
              return 0;
            }),
      0);
  int status = 0;
  ASSERT_EQ(waitpid(caller, &status, 0), caller);
  EXPECT_EQ(status, 0);
}

// A descriptor that takes long to close is not the daemon's to close.
TEST_F(Isolation, SessionIsOpenedBesideLingeringSocketsOfAnother) {
  std::array<int, 2> sent;
  ASSERT_EQ(pipe(sent.data()), 0);
  const pid_t attacker = fork();
  if (attacker == 0) {
    Become(kAttacker);
    std::vector<LingeringSocket> lingering(6);
    std::vector<UniqueFd> kept;
    for (size_t i = 0; i < lingering.size(); ++i) {
      kept.push_back(ConnectTo(dir() + (i % 2 == 0 ? "/session.sock" : "/control.sock"),
                               i % 2 == 0 ? SOCK_SEQPACKET : SOCK_STREAM));
      lingering[i].PassTo(kept.back().get());
      send(kept.back().get(), "garbage", 7, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    kept.clear();
    if (write(sent[1], "x", 1) != 1) _exit(1);
    pause();
  }
  char byte;
  ASSERT_EQ(read(sent[0], &byte, 1), 1);
  const absl::Time start = absl::Now();
  EXPECT_EQ(RunAs(60003,
                  [&] {
                    TestWorker worker(dir() + "/session.sock");
                    return worker.Open().ok() ? 0 : 1;
                  }),
            0);
  EXPECT_LT(absl::Now() - start, absl::Seconds(1));
  kill(attacker, SIGKILL);
  waitpid(attacker, nullptr, 0);
}

}  // namespace
}  // namespace nodecomm
