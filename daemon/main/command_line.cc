#include "daemon/main/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/base/utf8.h"
#include "client/base/version.h"
#include "client/reference/reference.h"
#include "client/reference/runtime_dir_option.h"

namespace nodecomm {
namespace {

std::optional<std::string> UnlessEmpty(std::string text) {
  if (text.empty()) return std::nullopt;
  return text;
}

// An unset variable of whoever starts the daemon must not mean its defaults. And the daemon tells
// administrators of these paths, in messages that take UTF-8 only.
CLI::Validator NamesAFile() {
  const auto check = [](const std::string& text) -> std::string {
    if (text.empty()) return "must name a file";
    return IsUtf8(text) ? "" : absl::StrCat("'", absl::CEscape(text), "' is not UTF-8");
  };
  return CLI::Validator(check, "");
}

constexpr ManualTexts kManual = {
    .section = 8,
    .description =
        "nodecommd opens its sockets at once, proves peer access between the GPUs, fills its pools "
        "and then writes \"ready\" to standard output and tells systemd. The log goes to standard "
        "error. SIGTERM ends it: no group is formed any more, and those that are there may finish "
        "for group.drain_timeout_ms; a second one ends them at once. To replace it under running "
        "groups, kill it: workers find the next one by themselves. SIGINT is taken as SIGTERM; "
        "SIGHUP reads the configuration file again, and the log says what was taken; "
        "others that would end it (SIGQUIT, SIGUSR1, SIGALRM and their like) are logged and "
        "ignored. "
        "It does not "
        "reopen the log: a file that standard error goes to is rotated by copying and truncating.",
    .files =
        "/run/nodecomm: session.sock and control.sock for workers, admin/admin.sock for "
        "administrators, and what a restarted daemon goes on with; "
        "/usr/share/doc/nodecomm/RUNBOOK.md tells what each file is, and what to do when something "
        "is wrong",
    .see_also = "nodecommctl(1), nodecommd.textproto(5), nodecomm-perf(1)"};

}  // namespace

ParsedCommandLine ParseCommandLine(int argc, char** argv) {
  CLI::App app(
      "nodecommd owns the GPU memory that the workers of this host share, and brings the workers "
      "together. One runs on a host.",
      "nodecommd");
  std::string runtime_dir;
  std::string config_path;
  std::string simulate_path;
  std::string log_level;
  ParsedCommandLine parsed;
  AddRuntimeDirOption(app, runtime_dir,
                      "Directory of the sockets (default: the configuration's, or /run/nodecomm)");
  app.add_option("--config", config_path, "Configuration file, in protobuf's text format")
      ->type_name("FILE")
      ->check(NamesAFile());
  app.add_flag("--check-config", parsed.command_line.check_config,
               "Read the configuration, say \"ok\" or what is wrong with it, and exit");
  app.add_option("--simulate", simulate_path,
                 "Simulate the host that this file describes, with host memory for GPU memory")
      ->type_name("FILE")
      ->check(NamesAFile());
  app.add_option("--log-level", log_level, "Least severe messages to log (default: info)")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error"}));
  app.set_version_flag("--version", std::string("nodecommd ") + kVersionLine);
  app.footer("Exit codes: 0 done, 1 failed, 2 wrong usage.");
  std::string reference;
  AddReferenceOption(app, reference);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version end here too, with code 0.
    parsed.exit_code = PrintOutcome(app, error) ? kExitOk : kExitUsage;
    return parsed;
  }
  if (!reference.empty()) {
    std::fputs(RenderReference(app, reference, kManual).c_str(), stdout);
    parsed.exit_code = kExitOk;
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
