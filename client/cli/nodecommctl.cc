// nodecommctl: shows administrators what nodecommd sees and holds, and has it prove peer access.
// The one file here with exceptions, which CLI11 needs.
// Design note: client/cli/README.md.
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/base/stack_size.h"
#include "client/base/standard_streams.h"
#include "client/base/status_macros.h"
#include "client/base/version.h"
#include "client/cli/admin_client.h"
#include "client/cli/colour.h"
#include "client/cli/commands.h"
#include "client/cli/tables.h"
#include "client/cli/topology_words.h"
#include "client/reference/reference.h"
#include "client/reference/runtime_dir_option.h"

namespace nodecomm {
namespace {

constexpr char kFooter[] =
    "Exit codes: 0 done, 1 the daemon could not be asked, did not answer or refused, 2 wrong "
    "usage;\n"
    "of `p2p check` and `undrain` also 3 peer access of a pair is broken, 4 it is not proven,\n"
    "or not within the time, or the GPU is lost; of `drain` 5 something still holds the GPU;\n"
    "of `drain` and `undrain` 7 another administrator has done the opposite meanwhile;\n"
    "of `doctor` 6 something does not work.\n"
    "--runtime-dir and --color may also follow the command.";

// A command that was chosen.
using Command = std::function<absl::StatusOr<Answer>(const Options&)>;

// --- running a command

bool WantsColour(const Options& options) {
  if (options.json || options.dump || options.color == "never") return false;
  if (options.color == "always") return true;
  const char* const term = std::getenv("TERM");
  return isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr && term != nullptr &&
         std::string_view(term) != "dumb";
}

// Whether the answer is out.
bool Flush() {
  const absl::Status written = FlushStandardOutput();
  if (!written.ok()) {
    std::fprintf(stderr, "nodecommctl: writing the answer: %s\n",
                 std::string(written.message()).c_str());
  }
  return written.ok();
}

bool Print(const Options& options, const std::string& answer) {
  const std::string text = WantsColour(options) ? WithColour(answer) : answer;
  std::fputs(text.c_str(), stdout);
  return Flush();
}

// 0: not known.
int TerminalRows() {
  winsize size = {};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}

// Over the one before on a terminal, which shows the beginning of what it is too small for;
// elsewhere one after the other.
bool PrintView(const Options& options, const std::string& view) {
  constexpr char kClearScreen[] = "\033[H\033[2J";
  constexpr char kCutLines[] = "\033[?7l";
  constexpr char kWrapLines[] = "\033[?7h";
  if (options.json || isatty(STDOUT_FILENO) == 0) return Print(options, view);
  // The cursor stands on a line of its own below.
  return Print(options, absl::StrCat(kClearScreen, kCutLines, CutToHeight(view, TerminalRows() - 1),
                                     kWrapLines));
}

using AdminCommand = absl::StatusOr<Answer> (*)(AdminClient&, const Options&);

// As a command that connects first.
Command Asking(const std::function<absl::StatusOr<Answer>(AdminClient&, const Options&)>& command) {
  return [command](const Options& options) -> absl::StatusOr<Answer> {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<AdminClient> client,
                          AdminClient::Connect(options.runtime_dir));
    return command(*client, options);
  };
}

absl::StatusOr<Answer> ShowTop(const Options& options) {
  absl::StatusOr<Answer> last =
      Top(options, [&](const std::string& view) { return PrintView(options, view); });
  if (!last.ok()) return last;
  // Only a bounded run has a last view.
  return PrintView(options, last->text) ? Answer{"", last->exit_code} : Answer{"", kExitNotAsked};
}

int Run(const Options& options, const Command& command) {
  const absl::StatusOr<Answer> answer = command(options);
  if (!answer.ok()) {
    const std::string message(answer.status().message());
    std::fprintf(stderr, "nodecommctl: %s\n", message.c_str());
    // NotFound: the daemon does not know what was named, or does not any more.
    const bool misnamed =
        absl::IsInvalidArgument(answer.status()) || absl::IsNotFound(answer.status());
    return misnamed ? kExitUsage : kExitNotAsked;
  }
  return Print(options, answer->text) ? answer->exit_code : kExitNotAsked;
}

// CLI11's Range lets "nan" pass: it is neither below nor above.
CLI::Validator IsNumber() {
  return CLI::Validator(
      [](const std::string& text) {
        return std::isnan(std::strtod(text.c_str(), nullptr)) ? "is not a number" : "";
      },
      "", "number");
}

// The commands, as CLI11 has them; `chosen` becomes the one that was named.
class CommandTable {
 public:
  CommandTable(Options& options, Command& chosen) : options_(options), chosen_(chosen) {}

  CLI::App* Add(CLI::App& parent, const char* name, const char* help, const Command& command) {
    CLI::App* const sub = parent.add_subcommand(name, help);
    sub->add_flag("--json", options_.json, "Print JSON");
    sub->callback([this, command] { chosen_ = command; });
    return sub;
  }
  CLI::App* Add(CLI::App& parent, const char* name, const char* help, AdminCommand command) {
    return Add(parent, name, help, Asking(command));
  }

  void AddAll(CLI::App& app) {
    CLI::App* const topo = Add(app, "topo", "GPUs and the links between them, as a matrix", Topo);
    CLI::Option* const why =
        topo->add_option("--why", options_.why,
                         absl::StrCat("Every fact about two GPUs, and whether they get the fast "
                                      "path; each by ",
                                      kGpuForms))
            ->expected(2)
            ->type_name("A B");
    topo->add_flag("--dump", options_.dump, "Print the host as a file for nodecommd --simulate")
        ->excludes(why)
        ->excludes(topo->get_option("--json"));  // the daemon reads text format only
    Add(app, "status", "Version, platform and counts", Status);
    Add(app, "sessions", "Worker processes that are connected, and their groups", Sessions);
    Add(app, "groups", "Groups of ranks: members, state and time in it, ranks that are waited for",
        Groups);
    Add(app, "pools", "Memory that each GPU's pool holds ready and has handed out", Pools);
    CLI::App* const p2p = app.add_subcommand("p2p", "Proofs of peer access between GPUs");
    p2p->require_subcommand(1);
    p2p->fallthrough();
    Add(*p2p, "show", "What was proven and measured, pair by pair", ShowProofs);
    CLI::App* const check = Add(*p2p, "check", "Prove what is not proven, and show it", ProvePairs);
    check->add_flag("--force", options_.force, "Prove again what is proven");
    check->add_option("--timeout", options_.timeout_s, "Seconds to wait")
        ->check(CLI::Range(1, 3600))
        ->capture_default_str();
    AddChanges(app);
    AddDiagnosis(app);
  }

 private:
  void AddDiagnosis(CLI::App& app) {
    CLI::App* const config = app.add_subcommand("config", "The daemon's configuration");
    config->require_subcommand(1);
    config->fallthrough();
    Add(*config, "show", "What is in force, defaults included; `nodecommd --config` takes it",
        ShowConfig);
    Add(app, "doctor", "Check driver, device files, GPUs, daemon and container; say what to do",
        Command(Doctor));
    CLI::App* const top =
        Add(app, "top", "Sessions, groups and pools, again and again", Command(ShowTop));
    top->get_option("--json")->description("Print JSON, a line a view");
    top->add_option("--interval", options_.interval_s, "Seconds between two views")
        ->check(CLI::Range(0.2, 3600.0))
        ->check(IsNumber())
        ->capture_default_str();
    top->add_option("--count", options_.count,
                    "Views to show; 0: until it is interrupted, over restarts of the daemon")
        ->check(CLI::Range(0, 1000000))
        ->capture_default_str();
    Add(app, "version", "Versions of nodecommctl and of the daemon", Command(ShowVersion));
  }

  void AddChanges(CLI::App& app) {
    CLI::App* const abort = Add(app, "abort", "End a group for all its members", Abort);
    abort->add_option("GROUP", options_.group, "Its generation, or its name if no other has it")
        ->required()
        ->check([](const std::string& group) { return group.empty() ? "names no group" : ""; });
    abort->add_option("--reason", options_.reason, "What its members are told");
    CLI::App* const drain =
        Add(app, "drain", "Take a GPU out of service and wait until nothing holds it", Drain);
    drain->add_option("--gpu", options_.gpu, absl::StrCat("Its ", kGpuForms))->required();
    drain->add_flag("--abort", options_.abort, "End the groups on it instead of waiting for them");
    drain->add_option("--timeout", options_.timeout_s, "Seconds to wait")
        ->check(CLI::Range(0, 86400))
        ->capture_default_str();
    CLI::App* const undrain = Add(app, "undrain", "Take a GPU back into service", Undrain);
    undrain->add_option("--gpu", options_.gpu, absl::StrCat("Its ", kGpuForms))->required();
  }

  Options& options_;
  Command& chosen_;
};

constexpr ManualTexts kManual = {
    .section = 1,
    .description =
        "nodecommctl asks the daemon nodecommd on admin.sock, which root and the daemon's user may "
        "do. Answers go to standard output, all else to standard error. With --json, answers are "
        "protocol buffers in JSON: fields keep their names, 64-bit numbers are strings, enums are "
        "names, and fields may be added but not renamed.",
    .files =
        "/run/nodecomm/admin/admin.sock; the fields of --json: "
        "/usr/share/doc/nodecomm/json.md and topology-json.md",
    .see_also =
        "nodecommd(8), nodecommd.textproto(5), nodecomm-perf(1), "
        "/usr/share/doc/nodecomm/RUNBOOK.md"};

int Main(int argc, char** argv) {
  CLI::App app("Shows what nodecommd sees and holds.", "nodecommctl");
  app.footer(kFooter);
  app.set_version_flag("--version", absl::StrCat("nodecommctl ", kVersionLine));
  app.fallthrough();             // global options after the command, too
  app.require_subcommand(0, 1);  // none: said below; CLI11 would hide a misspelt one behind it
  Options options;
  Command chosen;
  AddRuntimeDirOption(app, options.runtime_dir, "Directory of the daemon's sockets");
  app.add_option("--color", options.color, "Colours: auto (on a terminal), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  CommandTable table(options, chosen);
  table.AddAll(app);
  std::string reference;
  AddReferenceOption(app, reference);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return PrintOutcome(app, error) ? kExitOk : kExitUsage;
  }
  if (!reference.empty()) {
    std::fputs(RenderReference(app, reference, kManual).c_str(), stdout);
    return kExitOk;
  }
  if (!chosen) {
    std::fprintf(stderr, "nodecommctl: name a command\n%s", app.help().c_str());
    return kExitUsage;
  }
  return Run(options, chosen);
}

}  // namespace
}  // namespace nodecomm

int main(int argc, char** argv) {
  nodecomm::OpenMissingStandardStreams(nodecomm::Missing::kFailsWrites);
  if (const absl::Status room = nodecomm::MakeRoomForStacks(); !room.ok()) {
    std::fprintf(stderr, "nodecommctl: %s\n", std::string(room.message()).c_str());
    return nodecomm::kExitNotAsked;
  }
  const int exit_code = nodecomm::Main(argc, argv);
  // Of --help and --version.
  if (exit_code == nodecomm::kExitOk && !nodecomm::Flush()) return nodecomm::kExitNotAsked;
  return exit_code;
}
