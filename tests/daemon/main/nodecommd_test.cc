// The program as a user or systemd meets it: what it prints, its exit codes, its sockets, its end.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/base/version.h"
#include "tests/daemon/session/test_worker.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// A running nodecommd; killed at the latest with this object.
class Program {
 public:
  // `closed_stream`: a standard stream that it starts without; -1: none.
  explicit Program(std::vector<std::string> arguments, std::vector<std::string> environment = {},
                   int closed_stream = -1) {
    std::array<int, 2> out;
    std::array<int, 2> err;
    EXPECT_EQ(pipe2(out.data(), O_CLOEXEC), 0);
    EXPECT_EQ(pipe2(err.data(), O_CLOEXEC), 0);
    out_.Reset(out[0]);
    err_.Reset(err[0]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    if (closed_stream >= 0) posix_spawn_file_actions_addclose(&actions, closed_stream);
    arguments.insert(arguments.begin(), NODECOMMD);
    const std::vector<char*> argv = ToPointers(arguments);
    const std::vector<char*> envp = ToPointers(environment);
    EXPECT_EQ(posix_spawn(&pid_, NODECOMMD, &actions, nullptr, argv.data(), envp.data()), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(err[1]);
  }
  ~Program() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  void Signal(int number) { kill(pid_, number); }

  // Reads standard output up to `line`.
  bool PrintsLine(const std::string& line) { return ReadsUpTo(line + "\n", out_, output_); }
  // Reads the log up to `text`.
  bool Says(const std::string& text) { return ReadsUpTo(text, err_, errors_); }

  // The exit code; -1 if it was killed or is still running at the deadline.
  int Wait() {
    int status = 0;
    const bool ended = Eventually([&] { return waitpid(pid_, &status, WNOHANG) == pid_; });
    if (!ended) return -1;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  // All that it said, after its end.
  std::string Output() { return output_ + ReadAll(out_); }
  std::string Errors() { return errors_ + ReadAll(err_); }

  void CloseErrors() { err_.Reset(); }

 private:
  static std::vector<char*> ToPointers(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
  }

  static bool ReadsUpTo(const std::string& wanted, const UniqueFd& fd, std::string& so_far) {
    const absl::Time deadline = absl::Now() + kTestTimeout;
    while (so_far.find(wanted) == std::string::npos) {
      pollfd wait = {.fd = fd.get(), .events = POLLIN, .revents = 0};
      const int left = static_cast<int>(absl::ToInt64Milliseconds(deadline - absl::Now()));
      if (left <= 0 || poll(&wait, 1, left) <= 0) return false;
      std::array<char, 512> text;
      const ssize_t length = read(fd.get(), text.data(), text.size());
      if (length <= 0) return false;
      so_far.append(text.data(), static_cast<size_t>(length));
    }
    return true;
  }

  static std::string ReadAll(const UniqueFd& fd) {
    std::string all;
    std::array<char, 4096> text;
    ssize_t length;
    while ((length = read(fd.get(), text.data(), text.size())) > 0) {
      all.append(text.data(), static_cast<size_t>(length));
    }
    return all;
  }

  pid_t pid_ = -1;
  UniqueFd out_;
  UniqueFd err_;
  std::string output_;
  std::string errors_;
};

class NodecommdTest : public testing::Test {
 protected:
  std::string runtime_dir() const { return parent_ + "/run"; }
  std::string Topology() const { return TOPOLOGIES "/hgx-h100-x4.textproto"; }
  std::vector<std::string> SimulatedHost() const {
    return {"--runtime-dir", runtime_dir(), "--simulate", Topology()};
  }
  std::string WriteConfig(const std::string& text) const {
    std::string path = parent_ + "/nodecommd.conf";
    std::ofstream(path) << text;
    return path;
  }

  const TemporaryDirectory directory_;
  const std::string parent_ = directory_.path();
};

TEST_F(NodecommdTest, ServesUntilSigtermAndCleansUp) {
  Program daemon(SimulatedHost());
  ASSERT_TRUE(daemon.PrintsLine("ready"));
  TestWorker worker(runtime_dir() + "/session.sock");
  const auto welcome = worker.Open();
  ASSERT_OK(welcome);
  EXPECT_EQ(welcome->platform(), v1::PLATFORM_SIMULATED);
  EXPECT_TRUE(ConnectTo(runtime_dir() + "/control.sock", SOCK_STREAM).valid());
  EXPECT_TRUE(ConnectTo(runtime_dir() + "/admin/admin.sock", SOCK_STREAM).valid());

  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0);
  EXPECT_TRUE(worker.IsClosed());
  for (const char* name : {"/session.sock", "/control.sock", "/admin/admin.sock"}) {
    EXPECT_FALSE(std::filesystem::exists(runtime_dir() + name)) << name;
  }
  const std::string log = daemon.Errors();
  EXPECT_THAT(
      log, AllOf(HasSubstr(kVersionLine), HasSubstr("4 GPUs"), HasSubstr("ready"),
                 HasSubstr("session opened session="), HasSubstr(absl::StrCat(" pid=", getpid())),
                 HasSubstr("the daemon is stopping"), HasSubstr("signal 15")));
  EXPECT_THAT(log, Not(HasSubstr(welcome->token())));
}

TEST_F(NodecommdTest, SigintStopsItToo) {
  Program daemon(SimulatedHost());
  ASSERT_TRUE(daemon.PrintsLine("ready"));
  daemon.Signal(SIGINT);
  EXPECT_EQ(daemon.Wait(), 0);
}

TEST_F(NodecommdTest, SignalsWithoutAMeaningAreIgnoredAndLogged) {
  Program daemon(SimulatedHost());
  ASSERT_TRUE(daemon.PrintsLine("ready"));
  for (const int number : {SIGUSR1, SIGUSR2, SIGQUIT, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR}) {
    daemon.Signal(number);
    EXPECT_TRUE(
        daemon.Says(absl::StrCat("signal ", number, " (", strsignal(number), ") is ignored")));
  }
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0);
  EXPECT_THAT(daemon.Errors(), HasSubstr("stopping: signal 15"));
}

// Of which the kernel makes a signal, where a full disk is an error.
TEST_F(NodecommdTest, LimitOnTheSizeOfFilesDoesNotEndIt) {
  Program daemon(SimulatedHost());
  ASSERT_TRUE(daemon.PrintsLine("ready"));
  rlimit before = {};
  const rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
  ASSERT_EQ(prlimit(daemon.pid(), RLIMIT_FSIZE, &none, &before), 0);
  {
    TestWorker worker(runtime_dir() + "/session.sock");
    EXPECT_FALSE(worker.Open().ok()) << "its session cannot be recorded";
  }
  EXPECT_TRUE(daemon.Says("File too large"));
  ASSERT_EQ(prlimit(daemon.pid(), RLIMIT_FSIZE, &before, nullptr), 0);
  TestWorker worker(runtime_dir() + "/session.sock");
  EXPECT_OK(worker.Open());
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0);
}

TEST_F(NodecommdTest, SecondDaemonNamesTheFirst) {
  Program first(SimulatedHost());
  ASSERT_TRUE(first.PrintsLine("ready"));
  Program second(SimulatedHost());
  EXPECT_EQ(second.Wait(), 1);
  EXPECT_THAT(second.Errors(),
              AllOf(HasSubstr(absl::StrCat("process ", first.pid())), HasSubstr("--runtime-dir")));
  TestWorker worker(runtime_dir() + "/session.sock");
  EXPECT_OK(worker.Open());
}

TEST_F(NodecommdTest, KilledDaemonIsReplaced) {
  {
    Program killed(SimulatedHost());
    ASSERT_TRUE(killed.PrintsLine("ready"));
  }
  ASSERT_TRUE(std::filesystem::exists(runtime_dir() + "/session.sock"));
  Program daemon(SimulatedHost());
  ASSERT_TRUE(daemon.PrintsLine("ready"));
  TestWorker worker(runtime_dir() + "/session.sock");
  EXPECT_OK(worker.Open());
}

TEST_F(NodecommdTest, RuntimeDirComesFromOptionThenEnvironmentThenConfig) {
  const std::string config = WriteConfig(absl::StrCat("runtime_dir: \"", parent_, "/c\""));
  {
    Program daemon({"--config", config, "--simulate", Topology()});
    ASSERT_TRUE(daemon.PrintsLine("ready"));
    EXPECT_TRUE(std::filesystem::exists(parent_ + "/c/session.sock"));
  }
  const std::string environment = absl::StrCat("NODECOMM_RUNTIME_DIR=", parent_, "/e");
  {
    Program daemon({"--config", config, "--simulate", Topology()}, {environment});
    ASSERT_TRUE(daemon.PrintsLine("ready"));
    EXPECT_TRUE(std::filesystem::exists(parent_ + "/e/session.sock"));
  }
  {
    Program daemon({"--config", config, "--simulate", Topology(), "--runtime-dir", parent_ + "/o"},
                   {environment});
    ASSERT_TRUE(daemon.PrintsLine("ready"));
    EXPECT_TRUE(std::filesystem::exists(parent_ + "/o/session.sock"));
  }
}

TEST_F(NodecommdTest, ConfigIsCheckedWithoutStarting) {
  Program good({"--check-config", "--config", WriteConfig("limits { groups_max: 3 }")});
  EXPECT_EQ(good.Wait(), 0);
  EXPECT_EQ(good.Output(), "ok\n");
  const std::string path = WriteConfig("pool {\n  plane_bytes: 3\n}\n");
  Program bad({"--check-config", "--config", path});
  EXPECT_EQ(bad.Wait(), 1);
  EXPECT_THAT(bad.Errors(), HasSubstr(path + ":2:3: field pool.plane_bytes: 3 is not a multiple"));
  Program started({"--config", path, "--runtime-dir", runtime_dir()});
  EXPECT_EQ(started.Wait(), 1);
  EXPECT_FALSE(std::filesystem::exists(runtime_dir()));
}

TEST_F(NodecommdTest, WarnsOfAccessToGpusThatAreNotThere) {
  const std::string uuid = "GPU-51000000-0000-4000-8000-00000000000";
  const auto entry = [&](char last) {
    return absl::StrCat("gpu_access { gpu_uuid: \"", uuid, std::string(1, last), "\" }\n");
  };
  std::vector<std::string> arguments = SimulatedHost();
  arguments.insert(arguments.end(), {"--config", WriteConfig(entry('0') + entry('a'))});
  Program daemon(arguments);
  ASSERT_TRUE(daemon.PrintsLine("ready"));
  WriteConfig(entry('1') + entry('b'));
  daemon.Signal(SIGHUP);  // taken before the next, which has a higher number
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0);
  const std::string log = daemon.Errors();
  EXPECT_THAT(log, AllOf(HasSubstr(absl::StrCat("gpu_access names ", uuid, "a, which is no GPU")),
                         HasSubstr(absl::StrCat("gpu_access names ", uuid, "b, which is no GPU"))));
  EXPECT_THAT(log, Not(HasSubstr(absl::StrCat("gpu_access names ", uuid, "0"))));
  EXPECT_THAT(log, Not(HasSubstr(absl::StrCat("gpu_access names ", uuid, "1"))));
}

TEST_F(NodecommdTest, ReloadNamesWhatIsNotSetAnyMore) {
  std::vector<std::string> arguments = SimulatedHost();
  arguments.insert(
      arguments.end(),
      {"--config",
       WriteConfig("gpu_access { gpu_uuid: \"GPU-51000000-0000-4000-8000-000000000000\" }")});
  Program daemon(arguments);
  ASSERT_TRUE(daemon.PrintsLine("ready"));
  WriteConfig("");
  daemon.Signal(SIGHUP);
  EXPECT_TRUE(daemon.Says("reload: gpu_access is now not set, was {"));
  EXPECT_TRUE(daemon.Says("reload: done, 1 setting taken, 0 wait for a restart"));
}

TEST_F(NodecommdTest, NamesGpusThatAreLostAtItsStart) {
  std::ifstream file(Topology());
  std::string host{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  host.insert(host.find("uuid: "), "condition: GPU_CONDITION_LOST condition_reason: \"Xid 79\" ");
  const std::string path = parent_ + "/host.textproto";
  std::ofstream(path) << host;
  Program daemon({"--runtime-dir", runtime_dir(), "--simulate", path});
  ASSERT_TRUE(daemon.PrintsLine("ready"));
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0);
  EXPECT_THAT(daemon.Errors(), HasSubstr("GPU lost before the daemon's start: Xid 79; reset it"));
}

TEST_F(NodecommdTest, MetricsFileThatCannotBeWrittenIsNamedWithAdvice) {
  std::vector<std::string> arguments = SimulatedHost();
  arguments.insert(arguments.end(),
                   {"--config", WriteConfig(absl::StrCat("metrics { textfile: \"", parent_,
                                                         "/none/n.prom\" }"))});
  Program daemon(arguments);
  EXPECT_EQ(daemon.Wait(), 1);
  EXPECT_THAT(daemon.Errors(), AllOf(HasSubstr("metrics.textfile"), HasSubstr("/none/n.prom"),
                                     HasSubstr("make that directory")));
}

TEST_F(NodecommdTest, UsageErrorsHaveTheirOwnExitCode) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--bogus"},
                                                    {"extra"},
                                                    {"--log-level", "loud"},
                                                    {"--config"},
                                                    {"--check-config", "--config", ""},
                                                    {"--simulate", ""}}) {
    Program program(arguments);
    EXPECT_EQ(program.Wait(), 2) << arguments[0];
    EXPECT_THAT(program.Errors(), HasSubstr("--help"));
  }
}

TEST_F(NodecommdTest, VersionIsPrinted) {
  Program program({"--version"});
  EXPECT_EQ(program.Wait(), 0);
  EXPECT_EQ(program.Output(), absl::StrCat("nodecommd ", kVersionLine, "\n"));
}

TEST_F(NodecommdTest, HostWithoutDriverIsToldOfSimulation) {
  if (access("/dev/nvidiactl", F_OK) == 0) GTEST_SKIP() << "this host has an NVIDIA driver";
  Program program({"--runtime-dir", runtime_dir()});
  EXPECT_EQ(program.Wait(), 1);
  EXPECT_THAT(program.Errors(), HasSubstr("--simulate"));
}

TEST_F(NodecommdTest, MissingTopologyIsNamed) {
  Program program({"--runtime-dir", runtime_dir(), "--simulate", parent_ + "/none"});
  EXPECT_EQ(program.Wait(), 1);
  EXPECT_THAT(program.Errors(), HasSubstr(parent_ + "/none"));
}

TEST_F(NodecommdTest, GoesOnWhenNobodyReadsTheLog) {
  Program daemon(SimulatedHost());
  ASSERT_TRUE(daemon.PrintsLine("ready"));
  daemon.CloseErrors();
  for (int i = 0; i < 3; ++i) {
    TestWorker worker(runtime_dir() + "/session.sock");
    ASSERT_OK(worker.Open());  // which is logged
  }
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0);
}

// A pipe holds 64 KiB.
TEST_F(NodecommdTest, ReaderOfTheLogThatHasStoppedHoldsUpNobody) {
  Program daemon(SimulatedHost());
  ASSERT_TRUE(daemon.PrintsLine("ready"));
  const absl::Time start = absl::Now();
  for (int i = 0; i < 700; ++i) {
    TestWorker worker(runtime_dir() + "/session.sock");
    ASSERT_OK(worker.Open()) << "session " << i;
  }
  EXPECT_LT(absl::Now() - start, kTestTimeout);
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(), 0) << "its end waits for no reader either";
  EXPECT_GT(daemon.Errors().size(), 60'000u) << "so little is logged that nothing was tested";
}

TEST_F(NodecommdTest, ClosedStandardErrorDoesNotBecomeASocket) {
  Program daemon(SimulatedHost(), {}, STDERR_FILENO);
  ASSERT_TRUE(daemon.PrintsLine("ready"));
  const std::string target =
      std::filesystem::read_symlink(absl::StrCat("/proc/", daemon.pid(), "/fd/2"));
  EXPECT_EQ(target, "/dev/null");
  TestWorker worker(runtime_dir() + "/session.sock");
  EXPECT_OK(worker.Open());
}

}  // namespace
}  // namespace nodecomm
