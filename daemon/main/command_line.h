// What the user of nodecommd may say on the command line.
// Not the configuration file (daemon/config), which it points to and partly overrides.
#pragma once

#include <optional>
#include <string>

#include "daemon/config/config.h"

namespace nodecomm {

struct CommandLine {
  std::optional<std::string> runtime_dir;  // or NODECOMM_RUNTIME_DIR
  std::optional<std::string> config_path;
  std::optional<std::string> simulate_path;
  std::optional<LogLevel> log_level;
  bool check_config = false;
};

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

// What was said, or the code to exit with at once (--help, --version, a mistake); then everything
// has been printed.
struct ParsedCommandLine {
  CommandLine command_line;
  std::optional<int> exit_code;
};
ParsedCommandLine ParseCommandLine(int argc, char** argv);

}  // namespace nodecomm
