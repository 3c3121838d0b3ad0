#include "daemon/main/service_manager.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include <atomic>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/main/log_line.h"

namespace nodecomm {
namespace {

constexpr char kSession[] = "nodecomm-session";
constexpr char kControl[] = "nodecomm-control";
constexpr char kAdmin[] = "nodecomm-admin";

// `result`: of sd_notify and its like. Without a service manager that is 0, and well.
void WarnOnce(int result) {
  static std::atomic<bool> warned = false;
  if (result >= 0 || warned.exchange(true)) return;
  const char* const socket = getenv("NOTIFY_SOCKET");
  spdlog::warn(
      "the service manager cannot be told how the daemon is{} (NOTIFY_SOCKET is {}): under systemd "
      "it would be ended for that, at its start or by the watchdog",
      std::string(absl::ErrnoToStatus(-result, "").message()),
      Escaped(socket == nullptr ? "not set" : socket));
}

void Say(const std::string& state) { WarnOnce(sd_notify(0, state.c_str())); }

void Forget(const char* name) { Say(absl::StrCat("FDSTOREREMOVE=1\nFDNAME=", name)); }

void Keep(const char* name, const UniqueFd& socket) {
  // Of a name it keeps all, and its room is bounded.
  Forget(name);
  const int fd = socket.get();
  const std::string state = absl::StrCat("FDSTORE=1\nFDNAME=", name);
  WarnOnce(sd_pid_notify_with_fds(0, 0, state.c_str(), &fd, 1));
}

}  // namespace

RuntimeDir::Listeners TakeKeptListeners() {
  RuntimeDir::Listeners listeners;
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(/*unset_environment=*/1, &names);
  for (int i = 0; i < count; ++i) {
    UniqueFd fd(SD_LISTEN_FDS_START + i);
    fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
    const std::string_view name = names[i];
    if (name == kSession) {
      listeners.session = std::move(fd);
    } else if (name == kControl) {
      listeners.control = std::move(fd);
    } else if (name == kAdmin) {
      listeners.admin = std::move(fd);
    }
    // Any other is closed: nobody said what it is for.
  }
  for (int i = 0; i < count; ++i) free(names[i]);
  free(names);
  return listeners;
}

void KeepListeners(const RuntimeDir::Listeners& listeners) {
  Keep(kSession, listeners.session);
  Keep(kControl, listeners.control);
  Keep(kAdmin, listeners.admin);
}

void ForgetListeners() {
  for (const char* name : {kSession, kControl, kAdmin}) Forget(name);
}

void SayStatusToServiceManager(std::string_view status) {
  Say(absl::StrFormat("STATUS=%s", status));
}

void SayReadyToServiceManager(std::string_view status) {
  Say(absl::StrFormat("READY=1\nSTATUS=%s", status));
}

void SayReloadingToServiceManager() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t now_us = absl::ToInt64Microseconds(absl::DurationFromTimespec(now));
  Say(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=", now_us));
}

void SayStoppingToServiceManager(absl::Duration timeout) {
  Say(absl::StrCat("STOPPING=1\nSTATUS=Waiting for groups to finish.\nEXTEND_TIMEOUT_USEC=",
                   absl::ToInt64Microseconds(timeout)));
}

absl::Duration WatchdogInterval() {
  // Three chances before systemd gives the daemon up.
  constexpr int kChances = 3;
  uint64_t limit_us = 0;
  const int wanted = sd_watchdog_enabled(/*unset_environment=*/0, &limit_us);
  if (wanted < 0) {
    spdlog::warn(
        "WATCHDOG_USEC or WATCHDOG_PID cannot be used{}: no watchdog is answered, and systemd "
        "would end the daemon for that",
        std::string(absl::ErrnoToStatus(-wanted, "").message()));
  }
  if (wanted <= 0) return absl::InfiniteDuration();
  return absl::Microseconds(limit_us) / kChances;
}

void SayAliveToServiceManager() { Say("WATCHDOG=1"); }

}  // namespace nodecomm
