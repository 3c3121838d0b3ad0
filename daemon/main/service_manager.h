// What the daemon and systemd say to each other: listening sockets that systemd keeps while the
// daemon is away, so that workers who connect meanwhile wait instead of failing; that the daemon is
// ready; that it stops. Without systemd nothing happens. Source: sd_notify(3), sd_listen_fds(3).
#pragma once

#include "daemon/session/runtime_dir.h"

namespace nodecomm {

// The sockets that an earlier daemon left with systemd, by name; those that are not there are
// invalid. Before any thread is started: it changes the environment.
RuntimeDir::Listeners TakeKeptListeners();

// Leaves duplicates of the sockets with systemd (FileDescriptorStoreMax= must allow three).
void KeepListeners(const RuntimeDir::Listeners& listeners);

// The sockets are of no use any more: the daemon stops in order.
void ForgetListeners();

void SayReadyToServiceManager();
void SayStoppingToServiceManager();

}  // namespace nodecomm
