// nodecommctl: shows administrators what nodecommd sees and holds.
// Changes nothing. The one file here with exceptions, which CLI11 needs.
// Design note: client/cli/README.md.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/base/status_macros.h"
#include "client/base/version.h"
#include "client/cli/admin_client.h"
#include "client/cli/json.h"
#include "client/cli/tables.h"
#include "client/cli/topology_text.h"

namespace nodecomm {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitNotAsked = 1;
constexpr int kExitUsage = 2;

constexpr char kFooter[] =
    "Exit codes: 0 done, 1 the daemon could not be asked or did not answer, 2 wrong usage.\n"
    "--runtime-dir may also follow the command.";

enum class Form { kText, kJson };

// A command: asks, and renders the answer.
using Command = std::function<absl::StatusOr<std::string>(AdminClient&, Form)>;

absl::StatusOr<std::string> Topo(AdminClient& client, Form form) {
  ABSL_ASSIGN_OR_RETURN(const v1::GetTopologyResponse answer, client.GetTopology());
  return form == Form::kJson ? TopologyToJson(answer) : RenderTopology(answer);
}

absl::StatusOr<std::string> Status(AdminClient& client, Form form) {
  ABSL_ASSIGN_OR_RETURN(const v1::GetStatusResponse answer, client.GetStatus());
  return form == Form::kJson ? MessageToJson(answer) : RenderStatus(answer);
}

absl::StatusOr<std::string> Groups(AdminClient& client, Form form) {
  ABSL_ASSIGN_OR_RETURN(const v1::ListGroupsResponse answer, client.ListGroups());
  return form == Form::kJson ? MessageToJson(answer) : RenderGroups(answer);
}

absl::StatusOr<std::string> Pools(AdminClient& client, Form form) {
  ABSL_ASSIGN_OR_RETURN(const v1::ListPoolsResponse answer, client.ListPools());
  return form == Form::kJson ? MessageToJson(answer) : RenderPools(answer);
}

absl::StatusOr<std::string> Ask(const std::string& runtime_dir, const Command& command, Form form) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<AdminClient> client,
                        AdminClient::Connect(runtime_dir));
  return command(*client, form);
}

int Run(const std::string& runtime_dir, const Command& command, Form form) {
  const absl::StatusOr<std::string> text = Ask(runtime_dir, command, form);
  if (!text.ok()) {
    const std::string message(text.status().message());
    std::fprintf(stderr, "nodecommctl: %s\n", message.c_str());
    return kExitNotAsked;
  }
  const bool written = std::fputs(text->c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  if (!written) std::perror("nodecommctl: writing the answer");
  return written ? kExitOk : kExitNotAsked;
}

int Main(int argc, char** argv) {
  CLI::App app("Shows what nodecommd sees and holds.", "nodecommctl");
  app.footer(kFooter);
  app.set_version_flag("--version", absl::StrCat("nodecommctl ", kVersionLine));
  app.fallthrough();             // global options after the command, too
  app.require_subcommand(0, 1);  // none: said below; CLI11 would hide a misspelt one behind it
  std::string runtime_dir = "/run/nodecomm";
  app.add_option("--runtime-dir", runtime_dir, "Directory of the daemon's sockets")
      ->envname("NODECOMM_RUNTIME_DIR")
      ->capture_default_str();

  Command chosen;
  bool json = false;
  const auto add = [&](const char* name, const char* help, const Command& command) {
    CLI::App* const sub = app.add_subcommand(name, help);
    sub->add_flag("--json", json, "Print JSON (protobuf's mapping of nodecomm/v1/admin.proto)");
    sub->callback([&chosen, command] { chosen = command; });
  };
  add("topo", "GPUs and the links between them, as a matrix", Topo);
  add("status", "Version, platform and counts", Status);
  add("groups", "Groups of ranks, their members and state", Groups);
  add("pools", "Memory that each GPU's pool holds ready and has handed out", Pools);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  if (!chosen) {
    std::fprintf(stderr, "nodecommctl: name a command\n%s", app.help().c_str());
    return kExitUsage;
  }
  return Run(runtime_dir, chosen, json ? Form::kJson : Form::kText);
}

}  // namespace
}  // namespace nodecomm

int main(int argc, char** argv) { return nodecomm::Main(argc, argv); }
