// nodecommctl: shows administrators what nodecommd sees and holds, and has it prove peer access.
// The one file here with exceptions, which CLI11 needs.
// Design note: client/cli/README.md.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/base/status_macros.h"
#include "client/base/version.h"
#include "client/cli/admin_client.h"
#include "client/cli/changes.h"
#include "client/cli/colour.h"
#include "client/cli/host_dump.h"
#include "client/cli/json.h"
#include "client/cli/peer_check.h"
#include "client/cli/proof_text.h"
#include "client/cli/tables.h"
#include "client/cli/topology_text.h"
#include "client/cli/topology_words.h"

namespace nodecomm {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitNotAsked = 1;
constexpr int kExitUsage = 2;
constexpr int kExitPairFailed = 3;
constexpr int kExitPairUnproven = 4;
constexpr int kExitStillBusy = 5;

constexpr char kFooter[] =
    "Exit codes: 0 done, 1 the daemon could not be asked or did not answer, 2 wrong usage;\n"
    "of `p2p check` also 3 peer access of a pair is broken, 4 that of a pair is not proven;\n"
    "of `drain` also 5 groups are still on the GPU.\n"
    "--runtime-dir and --color may also follow the command.";

// What the command line says beside the command.
struct Options {
  std::string runtime_dir = "/run/nodecomm";
  std::string color = "auto";
  bool json = false;
  bool dump = false;
  std::vector<std::string> why;  // two GPUs
  bool force = false;
  int timeout_s = 120;
  std::string gpu;
  std::string group;
  std::string reason;
  bool abort = false;
};

struct Answer {
  std::string text;
  int exit_code = kExitOk;
};

// A command: asks, and renders the answer.
using Command = std::function<absl::StatusOr<Answer>(AdminClient&, const Options&)>;

absl::StatusOr<Answer> Done(absl::StatusOr<std::string> text) {
  if (!text.ok()) return text.status();
  return Answer{*std::move(text)};
}

absl::StatusOr<Answer> Why(AdminClient& client, const v1::GetTopologyResponse& topology,
                           const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const int a, FindGpuNamed(topology.host(), options.why[0]));
  ABSL_ASSIGN_OR_RETURN(const int b, FindGpuNamed(topology.host(), options.why[1]));
  if (a == b) {
    return absl::InvalidArgumentError(
        absl::StrCat("both names are those of ", GpuLabel(a), "; name two GPUs"));
  }
  v1::ExplainFastPathRequest request;
  for (const int gpu : {a, b}) request.add_gpu_uuids(topology.host().gpus(gpu).uuid());
  ABSL_ASSIGN_OR_RETURN(const v1::ExplainFastPathResponse answer, client.ExplainFastPath(request));
  return Done(RenderPair(topology, a, b, answer.fast_path()));
}

absl::StatusOr<Answer> Topo(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::GetTopologyResponse answer, client.GetTopology());
  if (!options.why.empty()) return Why(client, answer, options);
  if (options.dump) return Done(DumpHost(answer.host()));
  return Done(options.json ? TopologyToJson(answer) : RenderTopology(answer));
}

absl::StatusOr<Answer> Status(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::GetStatusResponse answer, client.GetStatus());
  return Done(options.json ? MessageToJson(answer) : RenderStatus(answer));
}

absl::StatusOr<Answer> Groups(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::ListGroupsResponse answer, client.ListGroups());
  return Done(options.json ? MessageToJson(answer) : RenderGroups(answer));
}

absl::StatusOr<Answer> Pools(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::ListPoolsResponse answer, client.ListPools());
  return Done(options.json ? MessageToJson(answer) : RenderPools(answer));
}

// --- p2p

absl::StatusOr<Answer> ShowProofs(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::GetTopologyResponse answer, client.GetTopology());
  return Done(options.json ? TopologyToJson(answer) : RenderProofs(answer));
}

// On standard error: the answer is what comes last. In place on a terminal; elsewhere a line for
// each change.
class ProgressLine {
 public:
  void Show(const v1::PeerCheckProgress& progress) {
    if (progress.pairs_done() == shown_ || progress.pairs_total() == 0) return;
    shown_ = progress.pairs_done();
    std::fprintf(stderr, "%s%d of %d pairs%s", on_terminal_ ? "\r" : "", shown_,
                 progress.pairs_total(), on_terminal_ ? "" : "\n");
    std::fflush(stderr);
  }
  ~ProgressLine() {
    if (on_terminal_ && shown_ >= 0) std::fputs("\n", stderr);
  }

 private:
  const bool on_terminal_ = isatty(STDERR_FILENO) != 0;
  int shown_ = -1;
};

int ExitCodeOf(const v1::GetTopologyResponse& topology) {
  const int gpus = topology.host().gpus_size();
  int proven = 0;
  for (const v1::PeerProof& proof : topology.proofs()) {
    if (proof.verdict() == v1::PROOF_VERDICT_FAILED) return kExitPairFailed;
    proven += proof.verdict() == v1::PROOF_VERDICT_PROVEN ? 1 : 0;
  }
  return proven == gpus * (gpus - 1) ? kExitOk : kExitPairUnproven;
}

absl::StatusOr<Answer> ProvePairs(AdminClient& client, const Options& options) {
  ProgressLine line;
  ABSL_ASSIGN_OR_RETURN(
      const v1::GetTopologyResponse answer,
      CheckPeers(client, options.force ? ProveWhich::kAll : ProveWhich::kMissing,
                 absl::Seconds(options.timeout_s),
                 [&](const v1::PeerCheckProgress& progress) { line.Show(progress); }));
  ABSL_ASSIGN_OR_RETURN(std::string text, options.json
                                              ? TopologyToJson(answer)
                                              : absl::StatusOr<std::string>(RenderProofs(answer)));
  return Answer{std::move(text), ExitCodeOf(answer)};
}

// --- changing things

absl::StatusOr<std::string> FindGpu(AdminClient& client, const std::string& name) {
  ABSL_ASSIGN_OR_RETURN(const v1::GetTopologyResponse topology, client.GetTopology());
  ABSL_ASSIGN_OR_RETURN(const int gpu, FindGpuNamed(topology.host(), name));
  return topology.host().gpus(gpu).uuid();
}

absl::StatusOr<Answer> Abort(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::ListGroupsResponse groups, client.ListGroups());
  ABSL_ASSIGN_OR_RETURN(const uint64_t generation, FindGroupNamed(groups, options.group));
  v1::AdminAbortGroupRequest request;
  request.set_generation(generation);
  request.set_reason(options.reason);
  ABSL_RETURN_IF_ERROR(client.AbortGroup(request).status());
  return Answer{absl::StrCat("Aborted group of generation ", generation, ".\n")};
}

absl::StatusOr<Answer> Drain(AdminClient& client, const Options& options) {
  v1::DrainGpuRequest request;
  ABSL_ASSIGN_OR_RETURN(*request.mutable_gpu_uuid(), FindGpu(client, options.gpu));
  request.set_abort_groups(options.abort);
  ABSL_ASSIGN_OR_RETURN(const v1::DrainGpuResponse answer,
                        DrainGpu(client, request, absl::Seconds(options.timeout_s)));
  ABSL_ASSIGN_OR_RETURN(std::string text, options.json ? MessageToJson(answer)
                                                       : absl::StatusOr<std::string>(
                                                             RenderDrain(options.gpu, answer)));
  return Answer{std::move(text), answer.drained() ? kExitOk : kExitStillBusy};
}

absl::StatusOr<Answer> Undrain(AdminClient& client, const Options& options) {
  v1::UndrainGpuRequest request;
  ABSL_ASSIGN_OR_RETURN(*request.mutable_gpu_uuid(), FindGpu(client, options.gpu));
  ABSL_RETURN_IF_ERROR(client.UndrainGpu(request).status());
  // Groups get the fast path there once its peer access is proven anew.
  ABSL_ASSIGN_OR_RETURN(const v1::GetTopologyResponse topology,
                        CheckPeers(client, ProveWhich::kMissing, absl::Seconds(options.timeout_s),
                                   [](const v1::PeerCheckProgress&) {}));
  return Answer{absl::StrCat("GPU ", options.gpu, " is back in service.\n"),
                topology.driver_trusted() ? kExitOk : ExitCodeOf(topology)};
}

// --- running a command

bool WantsColour(const Options& options) {
  if (options.json || options.dump || options.color == "never") return false;
  if (options.color == "always") return true;
  const char* const term = std::getenv("TERM");
  return isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr && term != nullptr &&
         std::string_view(term) != "dumb";
}

absl::StatusOr<Answer> Ask(const Options& options, const Command& command) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<AdminClient> client,
                        AdminClient::Connect(options.runtime_dir));
  return command(*client, options);
}

int Run(const Options& options, const Command& command) {
  const absl::StatusOr<Answer> answer = Ask(options, command);
  if (!answer.ok()) {
    const std::string message(answer.status().message());
    std::fprintf(stderr, "nodecommctl: %s\n", message.c_str());
    return absl::IsInvalidArgument(answer.status()) ? kExitUsage : kExitNotAsked;
  }
  const std::string text = WantsColour(options) ? WithColour(answer->text) : answer->text;
  const bool written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  if (!written) std::perror("nodecommctl: writing the answer");
  return written ? answer->exit_code : kExitNotAsked;
}

// The commands, as CLI11 has them; `chosen` becomes the one that was named.
class CommandTable {
 public:
  CommandTable(Options& options, Command& chosen) : options_(options), chosen_(chosen) {}

  CLI::App* Add(CLI::App& parent, const char* name, const char* help, const Command& command) {
    CLI::App* const sub = parent.add_subcommand(name, help);
    sub->add_flag("--json", options_.json, "Print JSON (see client/cli/topology-json.md)");
    sub->callback([this, command] { chosen_ = command; });
    return sub;
  }

  void AddAll(CLI::App& app) {
    CLI::App* const topo = Add(app, "topo", "GPUs and the links between them, as a matrix", Topo);
    CLI::Option* const why =
        topo->add_option("--why", options_.why,
                         "Every fact about two GPUs, and whether they get the fast path")
            ->expected(2)
            ->type_name("A B");
    topo->add_flag("--dump", options_.dump, "Print the host as a file for nodecommd --simulate")
        ->excludes(why);
    Add(app, "status", "Version, platform and counts", Status);
    Add(app, "groups", "Groups of ranks, their members and state", Groups);
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
  }

 private:
  void AddChanges(CLI::App& app) {
    CLI::App* const abort = Add(app, "abort", "End a group for all its members", Abort);
    abort->add_option("GROUP", options_.group, "Its generation, or its name if no other has it")
        ->required();
    abort->add_option("--reason", options_.reason, "What its members are told");
    CLI::App* const drain =
        Add(app, "drain", "Take a GPU out of service and wait until nothing holds it", Drain);
    drain->add_option("--gpu", options_.gpu, "Index, UUID or PCI bus id")->required();
    drain->add_flag("--abort", options_.abort, "End the groups on it instead of waiting for them");
    drain->add_option("--timeout", options_.timeout_s, "Seconds to wait")
        ->check(CLI::Range(0, 86400))
        ->capture_default_str();
    CLI::App* const undrain = Add(app, "undrain", "Take a GPU back into service", Undrain);
    undrain->add_option("--gpu", options_.gpu, "Index, UUID or PCI bus id")->required();
  }

  Options& options_;
  Command& chosen_;
};

int Main(int argc, char** argv) {
  CLI::App app("Shows what nodecommd sees and holds.", "nodecommctl");
  app.footer(kFooter);
  app.set_version_flag("--version", absl::StrCat("nodecommctl ", kVersionLine));
  app.fallthrough();             // global options after the command, too
  app.require_subcommand(0, 1);  // none: said below; CLI11 would hide a misspelt one behind it
  Options options;
  Command chosen;
  app.add_option("--runtime-dir", options.runtime_dir, "Directory of the daemon's sockets")
      ->envname("NODECOMM_RUNTIME_DIR")
      ->capture_default_str();
  app.add_option("--color", options.color, "Colours: auto (on a terminal), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  CommandTable table(options, chosen);
  table.AddAll(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  if (!chosen) {
    std::fprintf(stderr, "nodecommctl: name a command\n%s", app.help().c_str());
    return kExitUsage;
  }
  return Run(options, chosen);
}

}  // namespace
}  // namespace nodecomm

int main(int argc, char** argv) { return nodecomm::Main(argc, argv); }
