// What is wrong with this host or its daemon, and what to do about each. Conclusions only: facts
// come from host_facts.h and the daemon. Design note: client/cli/README.md.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "client/cli/host_facts.h"
#include "nodecomm/v1/admin.pb.h"
#include "nodecomm/v1/report.pb.h"

namespace nodecomm {

// What the daemon says of itself; `asked` is why it does not, and then the rest is empty.
struct DaemonFacts {
  absl::Status asked;
  bool connected = false;  // somebody listens, whatever came of the questions
  absl::Status host_read;  // why the daemon cannot read its host; `topology` is empty then
  v1::GetStatusResponse status;
  v1::GetTopologyResponse topology;
  v1::ListPoolsResponse pools;
  v1::ListGroupsResponse groups;
  v1::ListSessionsResponse sessions;  // empty too if the daemon is older than the question
  v1::GetConfigResponse config;       // empty too if the daemon is older than the question
};

DaemonFacts AskDaemon(const std::string& runtime_dir);

// In the order in which a host comes up: what is wrong first is often why the rest is.
v1::DoctorReport Diagnose(const HostFacts& host, const DaemonFacts& daemon);

std::string RenderDoctor(const v1::DoctorReport& report);

}  // namespace nodecomm
