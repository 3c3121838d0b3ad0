#include "daemon/main/command_line.h"

#include <CLI/CLI.hpp>
#include <string>
#include <utility>

#include "client/base/version.h"

namespace nodecomm {
namespace {

std::optional<std::string> UnlessEmpty(std::string text) {
  if (text.empty()) return std::nullopt;
  return text;
}

}  // namespace

ParsedCommandLine ParseCommandLine(int argc, char** argv) {
  CLI::App app(
      "nodecommd owns the GPU memory that the workers of this host share, and brings the workers "
      "together. One runs on a host.");
  std::string runtime_dir;
  std::string config_path;
  std::string simulate_path;
  std::string log_level;
  ParsedCommandLine parsed;
  app.add_option("--runtime-dir", runtime_dir,
                 "Directory of the sockets (default: the configuration's, or /run/nodecomm)")
      ->envname("NODECOMM_RUNTIME_DIR")
      ->type_name("DIR");
  app.add_option("--config", config_path, "Configuration file, in protobuf's text format")
      ->type_name("FILE");
  app.add_flag("--check-config", parsed.command_line.check_config,
               "Read the configuration, say \"ok\" or what is wrong with it, and exit");
  app.add_option("--simulate", simulate_path,
                 "Simulate the host that this file describes, with host memory for GPU memory")
      ->type_name("FILE");
  app.add_option("--log-level", log_level, "Least severe messages to log (default: info)")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error"}));
  app.set_version_flag("--version", std::string("nodecommd ") + kVersionLine);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version end here too, with code 0.
    parsed.exit_code = app.exit(error) == 0 ? kExitOk : kExitUsage;
    return parsed;
  }
  parsed.command_line.runtime_dir = UnlessEmpty(std::move(runtime_dir));
  parsed.command_line.config_path = UnlessEmpty(std::move(config_path));
  parsed.command_line.simulate_path = UnlessEmpty(std::move(simulate_path));
  if (const auto level = ParseLogLevel(log_level); level.ok()) {
    parsed.command_line.log_level = *level;
  }
  return parsed;
}

}  // namespace nodecomm
