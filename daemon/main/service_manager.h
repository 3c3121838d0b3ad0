// What the daemon and systemd say to each other: listening sockets that systemd keeps while the
// daemon is away, so that workers who connect meanwhile wait instead of failing; how far the daemon
// is; that it is alive. Without systemd nothing happens; a systemd that cannot be told is logged,
// once. Source: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).
#pragma once

#include <string_view>

#include "absl/time/time.h"
#include "daemon/session/runtime_dir.h"

namespace nodecomm {

// The sockets that an earlier daemon left with systemd, by name; those that are not there are
// invalid. Before any thread is started: it changes the environment.
RuntimeDir::Listeners TakeKeptListeners();

// Leaves duplicates of the sockets with systemd (FileDescriptorStoreMax= must allow three).
void KeepListeners(const RuntimeDir::Listeners& listeners);

// The sockets are of no use any more: the daemon stops in order.
void ForgetListeners();

// `status` is what systemctl status shows: one line, for people.
void SayStatusToServiceManager(std::string_view status);
void SayReadyToServiceManager(std::string_view status);
// SayReady follows once the reload is done.
void SayReloadingToServiceManager();
// It takes `timeout` at most, also if the unit allows less.
void SayStoppingToServiceManager(absl::Duration timeout);

// How often systemd wants to hear that the daemon is alive; infinite if it does not.
absl::Duration WatchdogInterval();
void SayAliveToServiceManager();

}  // namespace nodecomm
