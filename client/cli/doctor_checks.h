// Checks of the doctor that have a file of their own; the others are in doctor.cc.
// Conclusions only, as there. Design note: client/cli/README.md.
#pragma once

#include "client/cli/doctor.h"
#include "client/cli/doctor_report.h"

namespace nodecomm {

// doctor_runtime_dir.cc
void CheckSocket(const HostFacts& host, const DaemonFacts& daemon, Report& report);
void CheckPermissions(const HostFacts& host, Report& report);
void CheckFileSystem(const HostFacts& host, Report& report);

// doctor_groups.cc
void CheckRanks(const DaemonFacts& daemon, Report& report);

// doctor_limits.cc
void CheckLimits(const DaemonFacts& daemon, Report& report);

}  // namespace nodecomm
