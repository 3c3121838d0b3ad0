#include "daemon/main/service_manager.h"

#include <fcntl.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace nodecomm {
namespace {

constexpr char kSession[] = "nodecomm-session";
constexpr char kControl[] = "nodecomm-control";
constexpr char kAdmin[] = "nodecomm-admin";

// Nobody is told whether it worked: without a service manager it does not, and that is well.
void Keep(const char* name, const UniqueFd& socket) {
  const int fd = socket.get();
  const std::string state = absl::StrCat("FDSTORE=1\nFDNAME=", name);
  sd_pid_notify_with_fds(0, 0, state.c_str(), &fd, 1);
}

void Forget(const char* name) {
  sd_notify(0, absl::StrCat("FDSTOREREMOVE=1\nFDNAME=", name).c_str());
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
  sd_notify(0, absl::StrFormat("STATUS=%s", status).c_str());
}

void SayReadyToServiceManager(std::string_view status) {
  sd_notify(0, absl::StrFormat("READY=1\nSTATUS=%s", status).c_str());
}

void SayReloadingToServiceManager() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t now_us = absl::ToInt64Microseconds(absl::DurationFromTimespec(now));
  sd_notify(0, absl::StrCat("RELOADING=1\nMONOTONIC_USEC=", now_us).c_str());
}

void SayStoppingToServiceManager(absl::Duration timeout) {
  sd_notify(0,
            absl::StrCat("STOPPING=1\nSTATUS=Waiting for groups to finish.\nEXTEND_TIMEOUT_USEC=",
                         absl::ToInt64Microseconds(timeout))
                .c_str());
}

absl::Duration WatchdogInterval() {
  // Three chances before systemd gives the daemon up.
  constexpr int kChances = 3;
  uint64_t limit_us = 0;
  if (sd_watchdog_enabled(/*unset_environment=*/0, &limit_us) <= 0) {
    return absl::InfiniteDuration();
  }
  return absl::Microseconds(limit_us) / kChances;
}

void SayAliveToServiceManager() { sd_notify(0, "WATCHDOG=1"); }

}  // namespace nodecomm
