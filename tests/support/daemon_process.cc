#include "tests/support/daemon_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/base/status_macros.h"
#include "client/base/unique_fd.h"

namespace nodecomm {
namespace {

constexpr absl::Duration kStartTimeout = absl::Seconds(30);
constexpr absl::Duration kRetryInterval = absl::Milliseconds(5);

bool CanConnect(const std::string& path) {
  const UniqueFd probe(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  return connect(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

pid_t Spawn(std::vector<std::string> arguments, const std::string& log_path) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child != 0) return child;
  // A test that crashes leaves no daemon behind.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  if (!log_path.empty()) {
    const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0 || dup2(log, STDERR_FILENO) < 0) _exit(1);
  }
  execv(argv[0], argv.data());
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DaemonProcess>> DaemonProcess::Start(const Options& options) {
  std::unique_ptr<DaemonProcess> daemon(new DaemonProcess);
  daemon->runtime_dir_ = daemon->directory_.path() + "/run";
  std::vector<std::string> arguments = options.wrapper;
  arguments.insert(arguments.end(), {options.program, "--runtime-dir", daemon->runtime_dir_});
  if (!options.topology.empty()) {
    arguments.insert(arguments.end(), {"--simulate", options.topology});
  }
  if (!options.config.empty()) {
    const std::string file = daemon->directory_.path() + "/config.textproto";
    std::ofstream(file) << options.config;
    arguments.insert(arguments.end(), {"--config", file});
  }
  daemon->arguments_ = std::move(arguments);
  if (options.keep_log) daemon->log_path_ = daemon->directory_.path() + "/log";
  ABSL_RETURN_IF_ERROR(daemon->Restart());
  return daemon;
}

absl::Status DaemonProcess::Restart() {
  pid_ = Spawn(arguments_, log_path_);
  if (pid_ < 0) return absl::InternalError("fork failed");
  return WaitUntilReady();
}

std::string DaemonProcess::ReadLog() const {
  std::ifstream log(log_path_, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(log), std::istreambuf_iterator<char>());
}

absl::Status DaemonProcess::WaitUntilReady() const {
  const absl::Time deadline = absl::Now() + kStartTimeout;
  while (!CanConnect(runtime_dir_ + "/session.sock")) {
    siginfo_t ended = {};
    waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT);
    if (ended.si_pid == pid_) return absl::InternalError("nodecommd ended while it started");
    if (absl::Now() > deadline) return absl::DeadlineExceededError("nodecommd does not start");
    absl::SleepFor(kRetryInterval);
  }
  return absl::OkStatus();
}

DaemonProcess::~DaemonProcess() { Kill(); }

int DaemonProcess::Wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return status;
}

absl::Status DaemonProcess::Stop() {
  kill(pid_, SIGTERM);
  const int status = Wait();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrFormat("nodecommd ended with wait status %#x", status));
}

void DaemonProcess::Kill() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  Wait();
}

}  // namespace nodecomm
