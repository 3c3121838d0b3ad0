// Checks of the doctor that have a file of their own; the others are in doctor.cc.
// Conclusions only, as there. Design note: client/cli/README.md.
#pragma once

#include "client/cli/doctor.h"
#include "client/cli/doctor_report.h"

namespace nodecomm {

// A daemon serves the directory, whatever it has to say. The kernel may hide who holds the lock.
inline bool DaemonRuns(const HostFacts& host, const DaemonFacts& daemon) {
  return daemon.connected || host.lock_holder.has_value();
}

// Also if a later question failed.
inline bool IsSimulated(const DaemonFacts& daemon) {
  return daemon.status.platform() == v1::PLATFORM_SIMULATED;
}

// doctor_socket.cc
void CheckSocket(const HostFacts& host, const DaemonFacts& daemon, Report& report);

// doctor_runtime_dir.cc
void CheckPermissions(const HostFacts& host, const DaemonFacts& daemon, Report& report);
void CheckFileSystem(const HostFacts& host, Report& report);

// doctor_gpus.cc
void CheckGpus(const HostFacts& host, const DaemonFacts& daemon, Report& report);
void CheckFabric(const DaemonFacts& daemon, Report& report);
void CheckPeerAccess(const DaemonFacts& daemon, Report& report);

// doctor_groups.cc
void CheckRanks(const HostFacts& host, const DaemonFacts& daemon, Report& report);

// doctor_limits.cc
void CheckLimits(const DaemonFacts& daemon, Report& report);

}  // namespace nodecomm
