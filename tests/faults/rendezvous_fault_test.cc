// A rendezvous in which one call of the C library fails, in the daemon or in one of its two ranks:
// each function that either calls on its way, each time that it is called. Whatever fails, every
// rank has its group or an error that says something, soon; and the next rendezvous works at once.
// Design note: tests/faults/README.md.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/unique_fd.h"
#include "client/cli/admin_client.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/faults/fault_plan.h"
#include "tests/support/daemon_process.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr char kConfig[] = R"(
  limits { connections_per_uid_per_second: 100000 calls_per_uid_per_second: 100000 }
  pool { plane_bytes: 2097152 }
)";
constexpr int kRanks = 2;
constexpr int kFaultyRank = 1;

// A rank that waits for one that has failed has its error after this.
constexpr absl::Duration kShortRendezvous = absl::Milliseconds(200);
constexpr absl::Duration kLongRendezvous = absl::Seconds(10);
// Whatever happens, a rank answers within this.
constexpr absl::Duration kAnswerTimeout = absl::Seconds(15);

// A plan in a file, and this process's view of it.
class SharedPlan {
 public:
  explicit SharedPlan(std::string path) : path_(std::move(path)) {
    const UniqueFd fd(open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (ftruncate(fd.get(), sizeof(FaultPlan)) != 0) std::abort();
    void* plan = mmap(nullptr, sizeof(FaultPlan), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (plan == MAP_FAILED) std::abort();
    plan_ = static_cast<FaultPlan*>(plan);
  }
  ~SharedPlan() { munmap(plan_, sizeof(FaultPlan)); }
  SharedPlan(const SharedPlan&) = delete;
  SharedPlan& operator=(const SharedPlan&) = delete;

  const std::string& path() const { return path_; }

  void Arm(Call call, int64_t nth, int32_t error) {
    Disarm();
    plan_->fired = 0;
    plan_->nth = nth;
    plan_->error = error;
    plan_->counts[static_cast<uint32_t>(call)] = 0;
    plan_->call = call;
  }
  void Disarm() { plan_->call = Call::kNone; }
  bool fired() const { return plan_->fired > 0; }

  int64_t CountOf(Call call) const { return plan_->counts[static_cast<uint32_t>(call)]; }
  void ForgetCount(Call call) { plan_->counts[static_cast<uint32_t>(call)] = 0; }

 private:
  const std::string path_;
  FaultPlan* plan_;
};

// A process of rendezvous_worker.
class Rank {
 public:
  // `plan`: under whose faults it is; null: none.
  Rank(const std::string& runtime_dir, int rank, const SharedPlan* plan) {
    std::array<int, 2> to = {};
    std::array<int, 2> from = {};
    if (pipe2(to.data(), O_CLOEXEC) != 0 || pipe2(from.data(), O_CLOEXEC) != 0) std::abort();
    to_.Reset(to[1]);
    from_.Reset(from[0]);
    const UniqueFd its_in(to[0]);
    const UniqueFd its_out(from[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, its_in.get(), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, its_out.get(), STDOUT_FILENO);
    std::vector<std::string> words = {NODECOMM_RENDEZVOUS_WORKER, runtime_dir, absl::StrCat(rank),
                                      absl::StrCat(kRanks)};
    std::vector<std::string> variables;
    if (plan != nullptr) {
      variables = {absl::StrCat("LD_PRELOAD=", NODECOMM_FAULTY_CALLS),
                   absl::StrCat(kFaultPlanVariable, "=", plan->path())};
    }
    if (posix_spawn(&pid_, words[0].c_str(), &actions, nullptr, Pointers(words).data(),
                    Pointers(variables).data()) != 0) {
      std::abort();
    }
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Rank() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  void Begin(const char* what, const std::string& group, absl::Duration timeout) {
    const std::string line =
        absl::StrCat(what, " ", group, " ", absl::ToInt64Milliseconds(timeout), "\n");
    // One that has ended says nothing, which is noticed then.
    [[maybe_unused]] const ssize_t put = write(to_.get(), line.data(), line.size());
  }

  // What it came to; empty: it hangs or has crashed.
  std::string WaitForEnd() {
    const absl::Time deadline = absl::Now() + kAnswerTimeout;
    std::string line;
    while (!absl::EndsWith(line, "\n")) {
      pollfd waited = {from_.get(), POLLIN, 0};
      const int64_t left_ms = absl::ToInt64Milliseconds(deadline - absl::Now());
      if (left_ms <= 0) return "";
      if (poll(&waited, 1, static_cast<int>(left_ms)) <= 0) continue;
      std::array<char, 4096> part;
      const ssize_t got = read(from_.get(), part.data(), part.size());
      if (got <= 0) return "";
      line.append(part.data(), static_cast<size_t>(got));
    }
    line.pop_back();
    return line;
  }

 private:
  static std::vector<char*> Pointers(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
  }

  UniqueFd to_;
  UniqueFd from_;
  pid_t pid_ = -1;
};

// What the daemon has of its own. Comes back by and by: closed connections are looked for, planes
// are made.
struct Stock {
  int64_t fds = 0;
  uint64_t bytes_ready = 0;
  bool operator==(const Stock&) const = default;
};

// A daemon and two ranks that live through all faults, until one of them does not.
struct Host {
  Host()
      : daemon_plan(directory.path() + "/daemon-plan"), rank_plan(directory.path() + "/rank-plan") {
    setenv("LD_PRELOAD", NODECOMM_FAULTY_CALLS, 1);
    setenv(kFaultPlanVariable, daemon_plan.path().c_str(), 1);
    auto started = DaemonProcess::Start({.program = NODECOMM_DAEMON,
                                         .topology = NODECOMM_TOPOLOGY,
                                         .config = kConfig,
                                         .keep_log = true});
    unsetenv("LD_PRELOAD");
    unsetenv(kFaultPlanVariable);
    if (!started.ok()) return;
    daemon = *std::move(started);
    ranks[0] = std::make_unique<Rank>(daemon->runtime_dir(), 0, nullptr);
    ranks[1] = std::make_unique<Rank>(daemon->runtime_dir(), kFaultyRank, &rank_plan);
    if (!AwaitAdministrator().ok()) return;
    if (Eventually([this] { return IsReady(); })) stock_at_first = ReadStock();
  }

  absl::Status ConnectAsAdministrator() {
    auto connected = AdminClient::Connect(daemon->runtime_dir());
    if (!connected.ok()) return connected.status();
    admin = *std::move(connected);
    return absl::OkStatus();
  }

  // Of a daemon that has just been started, whose sockets come one after the other.
  absl::Status AwaitAdministrator() {
    absl::Status connected;
    Eventually([&] { return (connected = ConnectAsAdministrator()).ok(); });
    return connected;
  }

  absl::Status RestartDaemon() {
    daemon->Kill();
    if (absl::Status started = daemon->Restart(); !started.ok()) return started;
    return AwaitAdministrator();
  }

  // Proofs, too, are done then, whose programs take descriptors.
  bool IsReady() {
    const auto status = admin->GetStatus();
    return status.ok() && status->not_ready().empty();
  }

  Stock ReadStock() {
    Stock stock;
    const std::filesystem::directory_iterator fds(absl::StrCat("/proc/", daemon->pid(), "/fd"));
    stock.fds = std::distance(begin(fds), end(fds));
    const auto pools = admin->ListPools();
    if (!pools.ok()) return stock;
    for (const v1::PoolInfo& pool : pools->pools()) stock.bytes_ready += pool.bytes_ready();
    return stock;
  }

  TemporaryDirectory directory;
  SharedPlan daemon_plan;
  SharedPlan rank_plan;
  std::unique_ptr<DaemonProcess> daemon;
  std::array<std::unique_ptr<Rank>, kRanks> ranks;
  std::unique_ptr<AdminClient> admin;
  Stock stock_at_first;
  int groups = 0;
};

enum class Side : uint8_t { kDaemon, kRank };

// What a fault does to the rendezvous that it falls into.
enum class Harm : uint8_t { kNone, kMaybe, kAlways };

struct Fault {
  Side side;
  const char* function;
  Call call;
  const char* error_name;
  int32_t error;
  Harm harm = Harm::kMaybe;
};

std::string NameOf(const testing::TestParamInfo<Fault>& info) {
  return absl::StrCat(info.param.function, "_", info.param.error_name);
}

void PrintTo(const Fault& fault, std::ostream* out) {
  *out << fault.function << ' ' << fault.error_name;
}

class Rendezvous : public testing::Test {
 protected:
  static void TearDownTestSuite() {
    delete host_;
    host_ = nullptr;
  }

  void SetUp() override {
    if (host_ == nullptr) host_ = new Host;
    ASSERT_GT(host_->stock_at_first.fds, 0) << "the daemon does not start";
  }

  // What is left of a host that a fault has spoilt is of no use to the next test.
  void TearDown() override {
    if (!HasFailure()) return;
    const std::string log = host_->daemon->ReadLog();
    std::cerr << log.substr(log.size() - std::min<size_t>(log.size(), 4000));
    delete host_;
    host_ = nullptr;
  }

  static SharedPlan& PlanOf(Side side) {
    return side == Side::kDaemon ? host_->daemon_plan : host_->rank_plan;
  }

  // What each rank has to say of it.
  using Ends = std::array<std::string, kRanks>;
  static Ends Meet(absl::Duration timeout) { return Do("meet", timeout); }
  static Ends Do(const char* what, absl::Duration timeout) {
    const std::string group = absl::StrCat("group-", host_->groups++);
    for (const auto& rank : host_->ranks) rank->Begin(what, group, timeout);
    Ends ends;
    for (size_t i = 0; i < ends.size(); ++i) ends[i] = host_->ranks[i]->WaitForEnd();
    return ends;
  }

  static bool IsOk(const std::string& end) { return end == "NODECOMM_OK"; }

  static void CheckSaySomething(const Ends& ends) {
    for (const std::string& end : ends) {
      ASSERT_NE(end, "") << "it hangs or has crashed";
      ASSERT_TRUE(IsOk(end) || absl::StrContains(end, ": ")) << end;
    }
  }

  static void CheckRendezvousWorks() {
    const Ends ends = Meet(kLongRendezvous);
    ASSERT_TRUE(std::all_of(ends.begin(), ends.end(), IsOk)) << ends[0] << "; " << ends[1];
    ASSERT_TRUE(Eventually([] { return WhatIsHeld().empty(); })) << WhatIsHeld();
  }

  static std::string WhatIsHeld() {
    std::string held;
    const auto status = host_->admin->GetStatus();
    const auto groups = host_->admin->ListGroups();
    const auto pools = host_->admin->ListPools();
    if (!status.ok() || !groups.ok() || !pools.ok()) {
      // The fault may have hit this connection, which does not come back by itself.
      host_->ConnectAsAdministrator().IgnoreError();
      return absl::StrCat("the daemon does not answer: ", status.status().message());
    }
    if (status->sessions() > 0) absl::StrAppend(&held, status->sessions(), " sessions ");
    for (const v1::GroupInfo& group : groups->groups()) {
      absl::StrAppend(&held, group.ShortDebugString(), " ");
    }
    for (const v1::PoolInfo& pool : pools->pools()) {
      if (pool.bytes_in_use() > 0) absl::StrAppend(&held, pool.ShortDebugString(), " ");
    }
    for (const char* folder : {"/groups", "/sessions"}) {
      const std::string path = host_->daemon->runtime_dir() + folder;
      for (const auto& file : std::filesystem::directory_iterator(path)) {
        absl::StrAppend(&held, file.path().string(), " ");
      }
    }
    return held;
  }

  static void CheckStockIsAsAtFirst() {
    const Stock expected = host_->stock_at_first;
    EXPECT_TRUE(Eventually([&] { return host_->ReadStock() == expected; }))
        << host_->ReadStock().fds << " descriptors, at first " << expected.fds << "; "
        << host_->ReadStock().bytes_ready << " bytes ready, at first " << expected.bytes_ready;
  }

  static Host* host_;
};

Host* Rendezvous::host_ = nullptr;

class RendezvousFault : public Rendezvous, public testing::WithParamInterface<Fault> {};

TEST_P(RendezvousFault, HarmsNothingButThatRendezvous) {
  const Fault& fault = GetParam();
  SharedPlan& plan = PlanOf(fault.side);
  plan.ForgetCount(fault.call);
  ASSERT_NO_FATAL_FAILURE(CheckRendezvousWorks());
  const int64_t calls = plan.CountOf(fault.call);
  ASSERT_GT(calls, 0) << "it is never called";
  int fired = 0;
  int formed = 0;
  for (int64_t nth = 0; nth < calls; ++nth) {
    SCOPED_TRACE(absl::StrFormat("call %d of %d", nth, calls));
    plan.Arm(fault.call, nth, fault.error);
    const Ends ends = Meet(fault.harm == Harm::kNone ? kLongRendezvous : kShortRendezvous);
    plan.Disarm();
    ASSERT_NO_FATAL_FAILURE(CheckSaySomething(ends));
    const bool all_well = std::all_of(ends.begin(), ends.end(), IsOk);
    // Now and then there is one call less.
    if (plan.fired()) {
      ++fired;
      formed += all_well ? 1 : 0;
      ASSERT_TRUE(all_well || fault.harm != Harm::kNone) << ends[0] << "; " << ends[1];
      ASSERT_TRUE(!all_well || fault.harm != Harm::kAlways) << "as if nothing had happened";
    }
    ASSERT_NO_FATAL_FAILURE(CheckRendezvousWorks());
  }
  EXPECT_GT(fired, 0) << "nothing has failed";
  CheckStockIsAsAtFirst();
  std::printf("%d of %d calls failed, %d groups formed all the same\n", fired,
              static_cast<int>(calls), formed);
}

// A daemon that comes back knows a process by when it began. What it would take for another's is no
// record of the session.
TEST_F(Rendezvous, SessionIsRefusedWhereItsProcessCannotBeRecorded) {
  // What the daemon opens first.
  host_->daemon_plan.Arm(Call::kOpen, 0, EMFILE);
  const Ends ends = Meet(kShortRendezvous);
  host_->daemon_plan.Disarm();
  EXPECT_THAT(ends, Contains(AllOf(HasSubstr("NODECOMM_RESOURCE_EXHAUSTED"),
                                   HasSubstr("cannot open a session: opening /proc/"))));
  ASSERT_NO_FATAL_FAILURE(CheckRendezvousWorks());
}

// --- a rank whose session goes on

// The session is not the group's alone, so its end does not tell the daemon that the rank waits no
// more. Without that, the memory of a group that has formed would be held until its mapping
// deadline, and the place of a rank that has not until its join's.
TEST_F(Rendezvous, LostAnswerOfAJoinHoldsNothingOfItsGroup) {
  const Ends kept = Do("keep", kLongRendezvous);
  ASSERT_TRUE(std::all_of(kept.begin(), kept.end(), IsOk)) << kept[0] << "; " << kept[1];
  const auto groups_and_bytes = [] {
    const auto groups = host_->admin->ListGroups();
    const auto pools = host_->admin->ListPools();
    uint64_t bytes = 0;
    if (!groups.ok() || !pools.ok()) return std::pair(-1, bytes);
    for (const v1::PoolInfo& pool : pools->pools()) bytes += pool.bytes_in_use();
    return std::pair(groups->groups_size(), bytes);
  };
  const auto at_first = groups_and_bytes();
  const auto only_those_hold = [&] { return groups_and_bytes() == at_first; };
  for (const Call call : {Call::kRpcReceive, Call::kRpcSend}) {
    for (int64_t nth = 0; nth < 12; ++nth) {
      SCOPED_TRACE(absl::StrFormat("function %d, call %d", static_cast<int>(call), nth));
      host_->rank_plan.Arm(call, nth, ECONNRESET);
      const Ends ends = Meet(kShortRendezvous);
      host_->rank_plan.Disarm();
      ASSERT_NO_FATAL_FAILURE(CheckSaySomething(ends));
      ASSERT_TRUE(Eventually(only_those_hold)) << WhatIsHeld();
      const Ends again = Meet(kLongRendezvous);
      ASSERT_TRUE(std::all_of(again.begin(), again.end(), IsOk)) << again[0] << "; " << again[1];
      ASSERT_TRUE(Eventually(only_those_hold)) << WhatIsHeld();
    }
  }
  Do("drop", kLongRendezvous);
  ASSERT_TRUE(Eventually([] { return WhatIsHeld().empty(); })) << WhatIsHeld();
}

// --- a rank that comes back to a daemon that was restarted

class Resume : public Rendezvous {
 protected:
  // What each rank has to say of a group that goes on with another daemon.
  static void MeetTwoDaemons(const std::function<void()>& before_the_restart, Ends& ends) {
    ends = Do("hold", kLongRendezvous);
    ASSERT_TRUE(std::all_of(ends.begin(), ends.end(), IsOk)) << ends[0] << "; " << ends[1];
    before_the_restart();
    ASSERT_OK(host_->RestartDaemon());
    ends = Do("use", kLongRendezvous);
    host_->rank_plan.Disarm();
    ASSERT_TRUE(Eventually([] { return WhatIsHeld().empty(); })) << WhatIsHeld();
  }
};

// Whatever goes wrong until the rank is welcome again, it tries again, and the group goes on.
TEST_F(Resume, IsRepeatedUntilItHasSucceeded) {
  struct Step {
    Call call;
    int64_t nth;
    int32_t error;
  };
  // The first thing that is received after the restart is the old connection's end, the next one
  // the welcome; sent are the hello and that the rank is alive.
  const Step steps[] = {{Call::kReceive, 1, ECONNRESET}, {Call::kReceive, 1, kHalf},
                        {Call::kSend, 0, EPIPE},         {Call::kSend, 1, EPIPE},
                        {Call::kConnect, 0, EACCES},     {Call::kMap, 0, ENOMEM}};
  for (const Step& step : steps) {
    SCOPED_TRACE(absl::StrFormat("function %d, call %d: %d", static_cast<int>(step.call), step.nth,
                                 step.error));
    Ends ends;
    ASSERT_NO_FATAL_FAILURE(
        MeetTwoDaemons([&] { host_->rank_plan.Arm(step.call, step.nth, step.error); }, ends));
    EXPECT_TRUE(host_->rank_plan.fired());
    EXPECT_TRUE(std::all_of(ends.begin(), ends.end(), IsOk)) << ends[0] << "; " << ends[1];
  }
}

class ResumeFault : public Resume, public testing::WithParamInterface<Fault> {};

TEST_P(ResumeFault, HarmsNothingButThatGroup) {
  const Fault& fault = GetParam();
  SharedPlan& plan = host_->rank_plan;
  Ends ends;
  ASSERT_NO_FATAL_FAILURE(MeetTwoDaemons([&] { plan.ForgetCount(fault.call); }, ends));
  ASSERT_TRUE(std::all_of(ends.begin(), ends.end(), IsOk)) << ends[0] << "; " << ends[1];
  const int64_t calls = plan.CountOf(fault.call);
  int fired = 0;
  int went_on = 0;
  for (int64_t nth = 0; nth < calls; ++nth) {
    SCOPED_TRACE(absl::StrFormat("call %d of %d", nth, calls));
    ASSERT_NO_FATAL_FAILURE(MeetTwoDaemons([&] { plan.Arm(fault.call, nth, fault.error); }, ends));
    ASSERT_NO_FATAL_FAILURE(CheckSaySomething(ends));
    const bool all_well = std::all_of(ends.begin(), ends.end(), IsOk);
    ASSERT_TRUE(all_well || fault.harm != Harm::kNone) << ends[0] << "; " << ends[1];
    fired += plan.fired() ? 1 : 0;
    went_on += all_well ? 1 : 0;
    ASSERT_NO_FATAL_FAILURE(CheckRendezvousWorks());
  }
  EXPECT_GT(fired, 0) << "nothing has failed";
  std::printf("%d of %d calls failed, %d groups went on all the same\n", fired,
              static_cast<int>(calls), went_on);
}

#define NAMED(error) #error, error

constexpr Fault kDaemonFaults[] = {
    {Side::kDaemon, "accept4", Call::kAccept, NAMED(EMFILE), Harm::kNone},
    {Side::kDaemon, "accept4", Call::kAccept, NAMED(EINTR), Harm::kNone},
    {Side::kDaemon, "getsockopt", Call::kPeerPidfd, NAMED(EMFILE)},
    {Side::kDaemon, "epoll_ctl", Call::kEpollAdd, NAMED(ENOSPC)},
    {Side::kDaemon, "epoll_wait", Call::kEpollWait, NAMED(EINTR), Harm::kNone},
    {Side::kDaemon, "recvmsg", Call::kReceive, NAMED(ECONNRESET)},
    {Side::kDaemon, "recvmsg", Call::kReceive, NAMED(EAGAIN), Harm::kNone},
    {Side::kDaemon, "recvmsg", Call::kReceive, NAMED(EINTR), Harm::kNone},
    {Side::kDaemon, "sendmsg", Call::kSend, NAMED(EPIPE), Harm::kAlways},
    {Side::kDaemon, "sendmsg", Call::kSend, NAMED(ETOOMANYREFS), Harm::kNone},
    {Side::kDaemon, "sendmsg", Call::kSend, NAMED(EINTR), Harm::kNone},
    {Side::kDaemon, "syscall", Call::kSyscall, NAMED(EMFILE), Harm::kAlways},
    {Side::kDaemon, "memfd_create", Call::kMemfd, NAMED(EMFILE)},
    {Side::kDaemon, "ftruncate", Call::kTruncate, NAMED(ENOMEM)},
    {Side::kDaemon, "fcntl_seal", Call::kSeal, NAMED(ENOMEM)},
    {Side::kDaemon, "fcntl_dup", Call::kDuplicate, NAMED(EMFILE)},
    {Side::kDaemon, "mmap", Call::kMap, NAMED(ENOMEM)},
    {Side::kDaemon, "open", Call::kOpen, NAMED(EMFILE)},
    {Side::kDaemon, "open", Call::kOpen, NAMED(ENOSPC)},
    {Side::kDaemon, "write", Call::kWrite, NAMED(ENOSPC)},
    {Side::kDaemon, "write", Call::kWrite, NAMED(EINTR), Harm::kNone},
    {Side::kDaemon, "write", Call::kWrite, NAMED(kHalf), Harm::kNone},
    {Side::kDaemon, "pwrite", Call::kWriteAt, NAMED(ENOSPC)},
    {Side::kDaemon, "pwrite", Call::kWriteAt, NAMED(EINTR), Harm::kNone},
    {Side::kDaemon, "pwrite", Call::kWriteAt, NAMED(kHalf)},
    {Side::kDaemon, "rename", Call::kRename, NAMED(ENOSPC)},
    {Side::kDaemon, "grpc_sendmsg", Call::kRpcSend, NAMED(EPIPE)},
    {Side::kDaemon, "grpc_recvmsg", Call::kRpcReceive, NAMED(ECONNRESET)},
};
INSTANTIATE_TEST_SUITE_P(Daemon, RendezvousFault, testing::ValuesIn(kDaemonFaults), NameOf);

constexpr Fault kRankFaults[] = {
    {Side::kRank, "socket", Call::kSocket, NAMED(EMFILE)},
    {Side::kRank, "connect", Call::kConnect, NAMED(ECONNREFUSED)},
    {Side::kRank, "connect", Call::kConnect, NAMED(EAGAIN)},
    {Side::kRank, "connect", Call::kConnect, NAMED(EINTR), Harm::kNone},
    {Side::kRank, "eventfd", Call::kEvent, NAMED(EMFILE)},
    {Side::kRank, "pthread_create", Call::kThread, NAMED(EAGAIN)},
    {Side::kRank, "poll", Call::kPoll, NAMED(ENOMEM)},
    {Side::kRank, "poll", Call::kPoll, NAMED(EINTR), Harm::kNone},
    {Side::kRank, "recvmsg", Call::kReceive, NAMED(ECONNRESET)},
    {Side::kRank, "recvmsg", Call::kReceive, NAMED(EINTR), Harm::kNone},
    {Side::kRank, "recvmsg", Call::kReceive, NAMED(kHalf)},
    {Side::kRank, "sendmsg", Call::kSend, NAMED(EPIPE)},
    {Side::kRank, "sendmsg", Call::kSend, NAMED(ENOBUFS)},
    {Side::kRank, "sendmsg", Call::kSend, NAMED(EINTR), Harm::kNone},
    {Side::kRank, "mmap", Call::kMap, NAMED(ENOMEM)},
    {Side::kRank, "grpc_sendmsg", Call::kRpcSend, NAMED(EPIPE)},
    {Side::kRank, "grpc_recvmsg", Call::kRpcReceive, NAMED(ECONNRESET)},
};
INSTANTIATE_TEST_SUITE_P(Rank, RendezvousFault, testing::ValuesIn(kRankFaults), NameOf);

constexpr Fault kResumeFaults[] = {
    {Side::kRank, "socket", Call::kSocket, NAMED(EMFILE), Harm::kNone},
    {Side::kRank, "connect", Call::kConnect, NAMED(EAGAIN), Harm::kNone},
    {Side::kRank, "recvmsg", Call::kReceive, NAMED(EINTR), Harm::kNone},
    {Side::kRank, "recvmsg", Call::kReceive, NAMED(ECONNRESET)},
    {Side::kRank, "sendmsg", Call::kSend, NAMED(ENOBUFS), Harm::kNone},
    {Side::kRank, "sendmsg", Call::kSend, NAMED(EPIPE)},
    {Side::kRank, "mmap", Call::kMap, NAMED(ENOMEM)},
};
INSTANTIATE_TEST_SUITE_P(Rank, ResumeFault, testing::ValuesIn(kResumeFaults), NameOf);

}  // namespace
}  // namespace nodecomm
