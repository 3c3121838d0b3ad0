#include "daemon/main/service_manager.h"

#include <fcntl.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

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

void SayReadyToServiceManager() { sd_notify(0, "READY=1\nSTATUS=Serving workers."); }

void SayStoppingToServiceManager() {
  sd_notify(0, "STOPPING=1\nSTATUS=Waiting for groups to finish.");
}

}  // namespace nodecomm
