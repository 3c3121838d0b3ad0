#include "client/cli/commands.h"

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/base/gpu_uuid.h"
#include "client/base/status_macros.h"
#include "client/base/version.h"
#include "client/cli/changes.h"
#include "client/cli/doctor.h"
#include "client/cli/host_dump.h"
#include "client/cli/host_facts.h"
#include "client/cli/interrupt_note.h"
#include "client/cli/json.h"
#include "client/cli/peer_check.h"
#include "client/cli/proof_text.h"
#include "client/cli/tables.h"
#include "client/cli/text_table.h"
#include "client/cli/topology_text.h"
#include "client/cli/topology_words.h"

namespace nodecomm {
namespace {

absl::StatusOr<Answer> Done(absl::StatusOr<std::string> text) {
  if (!text.ok()) return text.status();
  return Answer{*std::move(text)};
}

// As JSON if that is asked for, or as text.
template <typename Message>
absl::StatusOr<Answer> AnswerWith(const Options& options, const Message& message,
                                  std::string (*render)(const Message&)) {
  if (options.json) return Done(MessageToJson(message));
  return Answer{render(message)};
}

// All that is known of two GPUs and of what joins them.
v1::PairReport PairOf(const v1::GetTopologyResponse& topology, int a, int b,
                      const v1::FastPath& fast_path) {
  v1::PairReport report;
  for (const int gpu : {a, b}) *report.add_gpus() = topology.host().gpus(gpu);
  for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
    const std::string& from_uuid = topology.host().gpus(from).uuid();
    const std::string& to_uuid = topology.host().gpus(to).uuid();
    for (const v1::Link& link : topology.host().links()) {
      if (link.from_uuid() == from_uuid && link.to_uuid() == to_uuid) *report.add_links() = link;
    }
    for (const v1::PeerProof& proof : topology.proofs()) {
      if (proof.from_uuid() == from_uuid && proof.to_uuid() == to_uuid)
        *report.add_proofs() = proof;
    }
  }
  *report.mutable_fast_path() = fast_path;
  return report;
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
  return Done(options.json ? MessageToJson(PairOf(topology, a, b, answer.fast_path()))
                           : RenderPair(topology, a, b, answer.fast_path()));
}

// On standard error: the answer is what comes last. In place on a terminal; elsewhere a line for
// each change.
class ProgressLine {
 public:
  void Show(const v1::PeerCheckProgress& progress) {
    if (progress.pairs_done() == shown_ || progress.pairs_total() == 0) return;
    shown_ = progress.pairs_done();
    std::fprintf(stderr, "%s%d of %s%s", on_terminal_ ? "\r" : "", shown_,
                 Counted(progress.pairs_total(), "pair").c_str(), on_terminal_ ? "" : "\n");
    std::fflush(stderr);
  }
  void End() {
    if (on_terminal_ && shown_ >= 0) std::fputs("\n", stderr);
    shown_ = -1;
  }
  ~ProgressLine() { End(); }

 private:
  const bool on_terminal_ = isatty(STDERR_FILENO) != 0;
  int shown_ = -1;
};

int ExitCodeOf(const v1::GetTopologyResponse& topology) {
  if (topology.check().running()) return kExitPairUnproven;  // it took longer than was waited
  // Pairs with a drained GPU are not tried, and nobody misses their proofs, as `status` counts
  // them.
  std::set<std::string> in_service;
  for (const v1::Gpu& gpu : topology.host().gpus()) {
    if (gpu.condition() != v1::GPU_CONDITION_DRAINING) in_service.insert(gpu.uuid());
  }
  size_t proven = 0;
  for (const v1::PeerProof& proof : topology.proofs()) {
    if (proof.verdict() == v1::PROOF_VERDICT_FAILED) return kExitPairFailed;
    const bool counts =
        in_service.contains(proof.from_uuid()) && in_service.contains(proof.to_uuid());
    proven += counts && proof.verdict() == v1::PROOF_VERDICT_PROVEN ? 1 : 0;
  }
  return proven == in_service.size() * (in_service.size() - 1) ? kExitOk : kExitPairUnproven;
}

// On standard error, where a run of proofs goes on after this command.
void SayIfItGoesOn(const v1::PeerCheckProgress& check) {
  if (!check.running()) return;
  std::fprintf(stderr,
               "nodecommctl: time is up after %d of %s; the daemon goes on, see `nodecommctl p2p "
               "show`\n",
               check.pairs_done(), Counted(check.pairs_total(), "pair").c_str());
}

// What an undrain came to: the GPU may have been drained again, or be lost as it was before.
int ExitCodeOf(const v1::GetTopologyResponse& topology, const std::string& gpu_uuid) {
  for (const v1::Gpu& gpu : topology.host().gpus()) {
    if (gpu.uuid() != gpu_uuid) continue;
    if (gpu.condition() == v1::GPU_CONDITION_DRAINING) return kExitTakenBack;
    if (gpu.condition() == v1::GPU_CONDITION_LOST) return kExitPairUnproven;
  }
  return topology.driver_trusted() ? kExitOk : ExitCodeOf(topology);
}

absl::StatusOr<std::string> FindGpu(AdminClient& client, const std::string& name) {
  ABSL_ASSIGN_OR_RETURN(const v1::GetTopologyResponse topology, client.GetTopology());
  ABSL_ASSIGN_OR_RETURN(const int gpu, FindGpuNamed(topology.host(), name));
  return topology.host().gpus(gpu).uuid();
}

}  // namespace

absl::StatusOr<Answer> Topo(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::GetTopologyResponse answer, client.GetTopology());
  if (!options.why.empty()) return Why(client, answer, options);
  if (options.dump) return Done(DumpHost(answer.host()));
  return Done(options.json ? TopologyToJson(answer) : RenderTopology(answer));
}

absl::StatusOr<Answer> Status(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::GetStatusResponse answer, client.GetStatus());
  return AnswerWith(options, answer, RenderStatus);
}

absl::StatusOr<Answer> Groups(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::ListGroupsResponse answer, client.ListGroups());
  return AnswerWith(options, answer, RenderGroups);
}

absl::StatusOr<Answer> Pools(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::ListPoolsResponse answer, client.ListPools());
  return AnswerWith(options, answer, RenderPools);
}

absl::StatusOr<Answer> Sessions(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::ListSessionsResponse answer, client.ListSessions());
  return AnswerWith(options, answer, RenderSessions);
}

absl::StatusOr<Answer> ShowConfig(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::GetConfigResponse answer, client.GetConfig());
  return AnswerWith(options, answer, RenderConfig);
}

// --- p2p

absl::StatusOr<Answer> ShowProofs(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::GetTopologyResponse answer, client.GetTopology());
  return Done(options.json ? TopologyToJson(answer) : RenderProofs(answer));
}

absl::StatusOr<Answer> ProvePairs(AdminClient& client, const Options& options) {
  ProgressLine line;
  ABSL_ASSIGN_OR_RETURN(
      const v1::GetTopologyResponse answer,
      CheckPeers(client, options.force ? ProveWhich::kAll : ProveWhich::kMissing,
                 absl::Seconds(options.timeout_s),
                 [&](const v1::PeerCheckProgress& progress) { line.Show(progress); }));
  line.End();
  SayIfItGoesOn(answer.check());
  ABSL_ASSIGN_OR_RETURN(std::string text, options.json
                                              ? TopologyToJson(answer)
                                              : absl::StatusOr<std::string>(RenderProofs(answer)));
  return Answer{std::move(text), ExitCodeOf(answer)};
}

// --- changing things

absl::StatusOr<Answer> Abort(AdminClient& client, const Options& options) {
  ABSL_ASSIGN_OR_RETURN(const v1::ListGroupsResponse groups, client.ListGroups());
  ABSL_ASSIGN_OR_RETURN(const uint64_t generation, FindGroupNamed(groups, options.group));
  v1::AdminAbortGroupRequest request;
  request.set_generation(generation);
  request.set_reason(options.reason);
  ABSL_RETURN_IF_ERROR(client.AbortGroup(request).status());
  if (options.json) return Done(MessageToJson(request));
  return Answer{absl::StrCat("Aborted group of generation ", generation, ".\n")};
}

absl::StatusOr<Answer> Drain(AdminClient& client, const Options& options) {
  v1::DrainGpuRequest request;
  ABSL_ASSIGN_OR_RETURN(*request.mutable_gpu_uuid(), FindGpu(client, options.gpu));
  request.set_abort_groups(options.abort);
  const InterruptNote note(absl::StrCat("nodecommctl: interrupted, and GPU ",
                                        RenderForeign(options.gpu),
                                        " goes on draining: drain waits for it, undrain takes it "
                                        "back"));
  ABSL_ASSIGN_OR_RETURN(const std::optional<v1::DrainGpuResponse> outcome,
                        DrainGpu(client, request, absl::Seconds(options.timeout_s)));
  if (!outcome.has_value()) {
    std::fprintf(stderr,
                 "nodecommctl: GPU %s is not drained: another administrator has taken it back "
                 "meanwhile (undrain)\n",
                 RenderForeign(options.gpu).c_str());
    return Answer{"", kExitTakenBack};
  }
  const v1::DrainGpuResponse& answer = *outcome;
  const DrainedGroups groups = options.abort ? DrainedGroups::kAborted : DrainedGroups::kAwaited;
  ABSL_ASSIGN_OR_RETURN(std::string text, options.json ? MessageToJson(answer)
                                                       : absl::StatusOr<std::string>(RenderDrain(
                                                             options.gpu, groups, answer)));
  return Answer{std::move(text), answer.drained() ? kExitOk : kExitStillBusy};
}

absl::StatusOr<Answer> Undrain(AdminClient& client, const Options& options) {
  v1::UndrainGpuRequest request;
  const absl::StatusOr<std::string> gpu = FindGpu(client, options.gpu);
  // A whole UUID may be that of a GPU that was taken out while it was drained: the daemon knows.
  const bool may_be_gone = absl::IsInvalidArgument(gpu.status()) && IsGpuUuid(options.gpu);
  if (!gpu.ok() && !may_be_gone) return gpu.status();
  request.set_gpu_uuid(gpu.ok() ? *gpu : options.gpu);
  ABSL_RETURN_IF_ERROR(client.UndrainGpu(request).status());
  if (may_be_gone) {
    return Done(options.json ? MessageToJson(request)
                             : absl::StrCat(RenderForeign(options.gpu),
                                            " is not in this host and drained no more\n"));
  }
  // Groups get the fast path there once its peer access is proven anew.
  ABSL_ASSIGN_OR_RETURN(const v1::GetTopologyResponse topology,
                        CheckPeers(client, ProveWhich::kMissing, absl::Seconds(options.timeout_s),
                                   [](const v1::PeerCheckProgress&) {}));
  SayIfItGoesOn(topology.check());
  const int exit_code = ExitCodeOf(topology, request.gpu_uuid());
  ABSL_ASSIGN_OR_RETURN(std::string text, options.json ? MessageToJson(request)
                                                       : absl::StatusOr<std::string>(RenderUndrain(
                                                             options.gpu, request.gpu_uuid(),
                                                             topology, exit_code == kExitOk)));
  return Answer{std::move(text), exit_code};
}

// --- looking on

namespace {

absl::StatusOr<v1::TopView> TakeView(AdminClient& client) {
  v1::TopView view;
  view.set_unix_time_ms(absl::ToUnixMillis(absl::Now()));
  ABSL_ASSIGN_OR_RETURN(*view.mutable_status(), client.GetStatus());
  ABSL_ASSIGN_OR_RETURN(const v1::ListSessionsResponse sessions, client.ListSessions());
  *view.mutable_sessions() = sessions.sessions();
  ABSL_ASSIGN_OR_RETURN(const v1::ListGroupsResponse groups, client.ListGroups());
  *view.mutable_groups() = groups.groups();
  ABSL_ASSIGN_OR_RETURN(const v1::ListPoolsResponse pools, client.ListPools());
  *view.mutable_pools() = pools.pools();
  return view;
}

// A daemon that is started anew, or does not answer at the moment. Not one that refuses.
bool MayComeBack(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

// On a connection of its own, made anew after whatever went wrong.
class Viewer {
 public:
  explicit Viewer(std::string runtime_dir) : runtime_dir_(std::move(runtime_dir)) {}

  absl::StatusOr<v1::TopView> Look() {
    if (client_ == nullptr) {
      ABSL_ASSIGN_OR_RETURN(client_, AdminClient::Connect(runtime_dir_));
    }
    absl::StatusOr<v1::TopView> view = TakeView(*client_);
    if (!view.ok()) client_ = nullptr;
    return view;
  }

 private:
  const std::string runtime_dir_;
  std::unique_ptr<AdminClient> client_;
};

}  // namespace

absl::StatusOr<Answer> Top(const Options& options, const ShowView& show) {
  Viewer viewer(options.runtime_dir);
  bool away = false;
  for (int shown = 0;;) {
    const absl::StatusOr<v1::TopView> view = viewer.Look();
    if (view.ok()) {
      if (away)
        std::fprintf(stderr, "nodecommctl: nodecommd answers, pid %d\n", view->status().pid());
      away = false;
      ABSL_ASSIGN_OR_RETURN(Answer answer,
                            Done(options.json ? MessageToJsonLine(*view) : RenderTop(*view)));
      if (++shown == options.count) return answer;
      if (!show(answer.text)) return Answer{"", kExitNotAsked};
    } else if (shown == 0 || options.count != 0 || !MayComeBack(view.status())) {
      return view.status();
    } else if (!away) {
      away = true;
      std::fprintf(stderr, "nodecommctl: %s\nnodecommctl: top goes on when it answers again\n",
                   std::string(view.status().message()).c_str());
    }
    absl::SleepFor(absl::Seconds(options.interval_s));
  }
}

absl::StatusOr<Answer> ShowVersion(const Options& options) {
  v1::VersionReport report;
  report.mutable_version()->set_major(kVersionMajor);
  report.mutable_version()->set_minor(kVersionMinor);
  report.mutable_version()->set_patch(kVersionPatch);
  report.set_version_line(kVersionLine);
  const auto client = AdminClient::Connect(options.runtime_dir);
  const absl::StatusOr<v1::GetStatusResponse> status =
      client.ok() ? (*client)->GetStatus() : client.status();
  if (status.ok()) {
    report.set_daemon_version_line(status->version_line());
  } else {
    report.set_daemon_error(std::string(status.status().message()));
  }
  ABSL_ASSIGN_OR_RETURN(Answer answer, AnswerWith(options, report, RenderVersion));
  answer.exit_code = status.ok() ? kExitOk : kExitNotAsked;
  return answer;
}

absl::StatusOr<Answer> Doctor(const Options& options) {
  const v1::DoctorReport report =
      Diagnose(ReadHostFacts({.runtime_dir = options.runtime_dir}), AskDaemon(options.runtime_dir));
  ABSL_ASSIGN_OR_RETURN(Answer answer, AnswerWith(options, report, RenderDoctor));
  answer.exit_code = report.problems() > 0 ? kExitProblems : kExitOk;
  return answer;
}

}  // namespace nodecomm
