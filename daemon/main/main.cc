// nodecommd: the process. Command line, configuration, log, signals; then the daemon runs until it
// is told to stop. Not the parts of the daemon or their order (daemon.h).

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/base/stack_size.h"
#include "client/base/standard_streams.h"
#include "client/base/steady_clock.h"
#include "client/base/version.h"
#include "daemon/config/config.h"
#include "daemon/main/command_line.h"
#include "daemon/main/daemon.h"
#include "daemon/main/log.h"
#include "daemon/main/process_setup.h"
#include "daemon/main/service_manager.h"
#include "daemon/main/signals.h"
#include "daemon/main/upkeep.h"

namespace nodecomm {
namespace {

// Filling takes a second on a cold machine. Groups form meanwhile and beyond: planes are made when
// they are asked for.
constexpr absl::Duration kFillTimeout = absl::Seconds(10);
constexpr absl::Duration kFillPollInterval = absl::Milliseconds(50);
constexpr absl::Duration kDrainPollInterval = absl::Milliseconds(20);
constexpr absl::Duration kProofPollInterval = absl::Milliseconds(50);
// What an end may take beyond the time that groups have.
constexpr absl::Duration kStopTimeout = absl::Seconds(20);

absl::StatusOr<Config> ReadConfig(const CommandLine& command_line) {
  absl::StatusOr<Config> config =
      command_line.config_path.has_value() ? LoadConfig(*command_line.config_path) : Config();
  if (!config.ok()) return config;
  if (command_line.runtime_dir.has_value()) config->runtime_dir = *command_line.runtime_dir;
  if (command_line.log_level.has_value()) config->log_level = *command_line.log_level;
  return config;
}

// The signal that came meanwhile, if one did. Every pair has a deadline, so this ends.
std::optional<int> WaitForProofs(Daemon& daemon) {
  while (!daemon.WaitUntilProven(kProofPollInterval)) {
    SayStatusToServiceManager(absl::StrCat("Waiting for ", daemon.WaitsFor()));
    if (const std::optional<int> stop = WaitForStopSignal(absl::ZeroDuration())) return stop;
  }
  return std::nullopt;
}

// Likewise.
std::optional<int> WaitForPools(Daemon& daemon) {
  const SteadyTime deadline = SteadyNow() + kFillTimeout;
  while (!daemon.WaitUntilPoolsFilled(kFillPollInterval)) {
    if (const std::optional<int> stop = WaitForStopSignal(absl::ZeroDuration())) return stop;
    if (SteadyNow() > deadline) {
      spdlog::warn("the pools are not full yet; groups form all the same");
      break;
    }
  }
  return std::nullopt;
}

void SayServing(Daemon& daemon) {
  // Else upkeep says it once nothing is missing any more.
  if (daemon.WaitsFor().empty()) daemon.SetReady();
  spdlog::info("serving workers: sockets in {}", daemon.runtime_dir());
  // For whoever started the daemon and waits for this line.
  std::puts("ready");
  std::fflush(stdout);
}

// Groups that are there may finish, for a while; a second signal ends them at once.
void FinishGroups(Daemon& daemon) {
  daemon.StopForming();
  const SteadyTime deadline = SteadyNow() + daemon.config().group.drain_timeout;
  while (daemon.HasGroups()) {
    SayAliveToServiceManager();
    if (SteadyNow() > deadline || WaitForStopSignal(kDrainPollInterval).has_value()) {
      daemon.AbortGroups();
      return;
    }
  }
}

// The exit code of what only prints, if that is out.
int UnlessLost(int exit_code) {
  const absl::Status written = FlushStandardOutput();
  if (written.ok() || exit_code != kExitOk) return exit_code;
  std::fprintf(stderr, "nodecommd: %s\n", std::string(written.message()).c_str());
  return kExitFailure;
}

int Run(const CommandLine& command_line) {
  absl::StatusOr<Config> config = ReadConfig(command_line);
  if (!config.ok()) {
    std::fprintf(stderr, "%s\n", std::string(config.status().message()).c_str());
    return kExitFailure;
  }
  if (command_line.check_config) {
    std::puts("ok");
    return UnlessLost(kExitOk);
  }
  SetUpLog(config->log_level, config->log_format);
  spdlog::info("nodecommd {}, pid {}", kVersionLine, getpid());
  if (const absl::Status raised = RaiseFileLimit(); !raised.ok()) {
    spdlog::warn("the limit on file descriptors stays as it is: {}", std::string(raised.message()));
  }
  BlockSignals();
  if (const absl::Status enough = CheckLimits(); !enough.ok()) {
    spdlog::error("cannot start: {}", std::string(enough.message()));
    return kExitFailure;
  }
  SayStatusToServiceManager("Reading the host's GPUs.");
  const absl::StatusOr<std::unique_ptr<Daemon>> daemon =
      Daemon::Start({.config = *std::move(config),
                     .config_path = command_line.config_path.value_or(""),
                     .simulate_path = command_line.simulate_path.value_or(""),
                     .kept = TakeKeptListeners()});
  if (!daemon.ok()) {
    spdlog::error("cannot start: {}", std::string(daemon.status().message()));
    return kExitFailure;
  }
  std::optional<int> stop = WaitForProofs(**daemon);
  if (!stop.has_value()) {
    (*daemon)->StartForming();
    stop = WaitForPools(**daemon);
  }
  if (!stop.has_value()) {
    SayServing(**daemon);
    Upkeep upkeep(daemon->get(), [&] { return ReadConfig(command_line); });
    stop = upkeep.Run();
  }
  spdlog::info("stopping: signal {}", *stop);
  SayStoppingToServiceManager((*daemon)->config().group.drain_timeout + kStopTimeout);
  FinishGroups(**daemon);
  ForgetListeners();
  (*daemon)->Stop();
  spdlog::info("stopped");
  return kExitOk;
}

}  // namespace
}  // namespace nodecomm

int main(int argc, char** argv) {
  nodecomm::IgnoreSignalsOfWrites();
  nodecomm::OpenMissingStandardStreams(nodecomm::Missing::kIgnoresWrites);
  nodecomm::BoundHeapArenas();
  if (const absl::Status room = nodecomm::MakeRoomForStacks(); !room.ok()) {
    std::fprintf(stderr, "nodecommd cannot start: %s\n", std::string(room.message()).c_str());
    return nodecomm::kExitFailure;
  }
  const nodecomm::ParsedCommandLine parsed = nodecomm::ParseCommandLine(argc, argv);
  if (parsed.exit_code.has_value()) return nodecomm::UnlessLost(*parsed.exit_code);
  const int exit_code = nodecomm::Run(parsed.command_line);
  nodecomm::FlushLog();
  return exit_code;
}
