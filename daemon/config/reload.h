// What a changed configuration file changes in a running daemon: which settings it takes, and which
// wait for a restart. Not the taking itself (daemon/main/daemon.cc), nor the reading (config.h).
// Design note: README.md, "reload".
#pragma once

#include <string>
#include <vector>

#include "daemon/config/config.h"

namespace nodecomm {

struct ConfigChange {
  std::string field;   // as in "limits.groups_max"
  std::string before;  // as a configuration file says it; empty: not set
  std::string after;
};

struct ConfigChanges {
  Config config;  // what is in force from now on: the old one with what is taken of the new one
  std::vector<ConfigChange> taken;
  std::vector<ConfigChange> waiting;  // for a restart
};

ConfigChanges CompareConfigs(const Config& in_force, const Config& fresh);

// Whether a running daemon takes the field, named as in ConfigChange.
bool IsReloaded(const std::string& field);

// All settings as a configuration file says them, defaults included.
std::string ConfigText(const Config& config);

}  // namespace nodecomm
