#include "daemon/metrics/metrics_snapshot.h"

#include <array>
#include <map>
#include <set>
#include <string_view>

#include "client/base/version.h"
#include "daemon/topology/lost_access.h"

namespace nodecomm {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

// One of a closed set of states: a sample each, 1 for the one that holds. So a state that is gone
// reads 0 and does not vanish.
template <typename Enum, size_t n>
void AddStates(StateFamily& family, const Labels& labels, std::string_view label_name, Enum now,
               const std::array<std::pair<Enum, std::string_view>, n>& states) {
  for (const auto& [state, word] : states) {
    Labels all = labels;
    all.emplace_back(label_name, word);
    family.samples.push_back({std::move(all), state == now ? 1.0 : 0.0});
  }
}

constexpr std::array<std::pair<v1::GpuCondition, std::string_view>, 3> kConditions = {
    {{v1::GPU_CONDITION_UNSPECIFIED, "ok"},
     {v1::GPU_CONDITION_LOST, "lost"},
     {v1::GPU_CONDITION_DRAINING, "draining"}}};

constexpr std::array<std::pair<v1::FabricState, std::string_view>, 5> kFabricStates = {
    {{v1::FABRIC_STATE_NOT_SUPPORTED, "not_supported"},
     {v1::FABRIC_STATE_NOT_STARTED, "not_started"},
     {v1::FABRIC_STATE_IN_PROGRESS, "in_progress"},
     {v1::FABRIC_STATE_COMPLETED, "completed"},
     {v1::FABRIC_STATE_UNKNOWN, "unknown"}}};

constexpr std::array<std::pair<v1::ProofVerdict, std::string_view>, 3> kVerdicts = {
    {{v1::PROOF_VERDICT_PROVEN, "proven"},
     {v1::PROOF_VERDICT_FAILED, "failed"},
     {v1::PROOF_VERDICT_UNPROVEN, "unproven"}}};

constexpr std::array<std::pair<v1::GroupState, std::string_view>, 4> kGroupStates = {
    {{v1::GROUP_STATE_GATHERING, "gathering"},
     {v1::GROUP_STATE_MAPPING, "mapping"},
     {v1::GROUP_STATE_READY, "ready"},
     {v1::GROUP_STATE_ABORTED, "aborted"}}};

std::string LinkKindWord(v1::LinkKind kind) {
  switch (kind) {
    case v1::LINK_KIND_PCI:
      return "pci";
    case v1::LINK_KIND_NVLINK:
      return "nvlink";
    case v1::LINK_KIND_NVSWITCH:
      return "nvswitch";
    default:
      return "unknown";
  }
}

std::string PeerAccessWord(v1::PeerAccess access) {
  switch (access) {
    case v1::PEER_ACCESS_SUPPORTED:
      return "supported";
    case v1::PEER_ACCESS_NOT_SUPPORTED:
      return "not_supported";
    default:
      return "unknown";
  }
}

Labels PairLabels(const std::string& from, const std::string& to) {
  return {{"from_gpu_uuid", from}, {"to_gpu_uuid", to}};
}

StateFamily One(std::string name, std::string help, double value) {
  return {.name = std::move(name), .help = std::move(help), .samples = {{{}, value}}};
}

void DescribeDaemon(const MetricsSnapshot& now, std::vector<StateFamily>& families) {
  families.push_back({.name = "nodecomm_build_info",
                      .help = "Always 1; its labels say which build this is.",
                      .samples = {{{{"version", kVersion}, {"build", kVersionLine}}, 1}}});
  families.push_back({.name = "nodecomm_host_info",
                      .help = "Always 1; its labels say what the daemon found.",
                      .samples = {{{{"driver_version", now.host.driver_version()},
                                    {"platform", now.simulated ? "simulated" : "cuda"}},
                                   1}}});
  families.push_back(One("nodecomm_start_time_seconds",
                         "When the daemon started, in seconds since 1970.",
                         absl::ToDoubleSeconds(now.start_time - absl::UnixEpoch())));
  families.push_back(One("nodecomm_ready",
                         "1 while GPUs, fabric and runtime directory are as they should be, and "
                         "proofs and pools have been.",
                         now.ready ? 1 : 0));
  families.push_back(One("nodecomm_runtime_dir_intact",
                         "0 if somebody removed the daemon's sockets or its lock file: a restart "
                         "is needed.",
                         now.runtime_dir_lost ? 0 : 1));
  families.push_back(One("nodecomm_runtime_dir_writable",
                         "0 while the daemon cannot write in its runtime directory, and so takes "
                         "no worker or forms no group.",
                         now.runtime_dir_writable ? 1 : 0));
  families.push_back(One("nodecomm_config_last_reload_successful",
                         "0 if the last reload failed: what was in force before it still is.",
                         now.reload_failed ? 0 : 1));
  families.push_back(One("nodecomm_xid_watch_active",
                         "0 while critical errors (Xid) are watched on no GPU: one is drained, or "
                         "the watcher cannot run.",
                         now.watches_errors ? 1 : 0));
  families.push_back(One("nodecomm_sessions", "Open sessions of workers.", now.sessions));
  families.push_back(
      One("nodecomm_sessions_limit", "Sessions that there may be.", now.sessions_max));
  families.push_back(One("nodecomm_groups_limit", "Groups that there may be.", now.groups_max));
  families.push_back(
      One("nodecomm_open_fds", "File descriptors that the daemon has open.", now.open_fds));
  families.push_back(
      One("nodecomm_open_fds_limit", "File descriptors that it may have open.", now.open_fds_max));
  families.push_back(
      {.name = "nodecomm_log_lines_lost_total",
       .help = "Lines of the log that are lost: not_read in time, or not_written by an error.",
       .type = StateFamily::Type::kCounter,
       .samples = {{{{"reason", "not_read"}}, static_cast<double>(now.log_lines_not_read)},
                   {{{"reason", "not_written"}}, static_cast<double>(now.log_lines_not_written)}}});
  StateFamily groups{.name = "nodecomm_groups", .help = "Groups of ranks by state."};
  for (const auto& [state, word] : kGroupStates) {
    double count = 0;
    for (const v1::GroupInfo& group : now.groups) count += group.state() == state ? 1 : 0;
    groups.samples.push_back({{{"state", std::string(word)}}, count});
  }
  families.push_back(std::move(groups));
  double robbed = 0;
  for (const v1::GroupInfo& group : now.groups) robbed += group.files_problem().empty() ? 0 : 1;
  families.push_back(One("nodecomm_groups_without_files",
                         "Groups of which somebody removed files for good: their workers are not "
                         "told of a death, or will not be once the daemon has restarted.",
                         robbed));
}

void DescribeGpus(const MetricsSnapshot& now, std::vector<StateFamily>& families) {
  StateFamily info{.name = "nodecomm_gpu_info",
                   .help = "Always 1; its labels say which GPU this is."};
  StateFamily condition{.name = "nodecomm_gpu_condition",
                        .help = "1 for the condition that the GPU is in."};
  StateFamily fabric{.name = "nodecomm_gpu_fabric_state",
                     .help = "1 for the state of the NVLink fabric as this GPU reports it."};
  StateFamily errors{.name = "nodecomm_gpu_nvlink_errors_total",
                     .help = "Errors that the GPU's NVLinks have counted since the driver loaded.",
                     .type = StateFamily::Type::kCounter};
  for (const v1::Gpu& gpu : now.host.gpus()) {
    const Labels labels = {{"gpu_uuid", gpu.uuid()}};
    info.samples.push_back(
        {{{"gpu_uuid", gpu.uuid()}, {"pci_bus_id", gpu.pci_bus_id()}, {"name", gpu.name()}}, 1});
    AddStates(condition, labels, "condition", gpu.condition(), kConditions);
    const v1::FabricState state = gpu.fabric_state() == v1::FABRIC_STATE_UNSPECIFIED
                                      ? v1::FABRIC_STATE_UNKNOWN
                                      : gpu.fabric_state();
    AddStates(fabric, labels, "state", state, kFabricStates);
    if (gpu.has_nvlink_errors()) {
      errors.samples.push_back({labels, static_cast<double>(gpu.nvlink_errors())});
    }
  }
  for (StateFamily* family : {&info, &condition, &fabric, &errors}) {
    families.push_back(std::move(*family));
  }
}

void DescribePairs(const MetricsSnapshot& now, std::vector<StateFamily>& families) {
  StateFamily links{.name = "nodecomm_link_info",
                    .help =
                        "Always 1; its labels say what joins the ordered pair of GPUs, and "
                        "whether the driver says that it has peer access."};
  StateFamily counts{.name = "nodecomm_link_nvlinks",
                     .help = "NVLinks that join the pair; 0 where there are none or unknown."};
  StateFamily verdicts{.name = "nodecomm_peer_access",
                       .help = "1 for the verdict of the proof of peer access."};
  StateFamily bandwidths{.name = "nodecomm_peer_write_bytes_per_second",
                         .help = "What the proof measured when the first GPU wrote."};
  StateFamily lost{.name = "nodecomm_peer_access_lost",
                   .help =
                       "1 if the driver says that the pair has no peer access, though it is proven "
                       "or joined by NVLink."};
  std::set<std::pair<std::string, std::string>> lost_pairs;
  for (const v1::Link& link : FindLostAccess(now.host, now.proofs)) {
    lost_pairs.insert({link.from_uuid(), link.to_uuid()});
  }
  std::map<std::pair<std::string, std::string>, v1::PeerProof> proofs;
  for (const v1::PeerProof& proof : now.proofs.proofs()) {
    proofs[{proof.from_uuid(), proof.to_uuid()}] = proof;
  }
  for (const v1::Link& link : now.host.links()) {
    const Labels labels = PairLabels(link.from_uuid(), link.to_uuid());
    Labels facts = labels;
    facts.emplace_back("kind", LinkKindWord(link.kind()));
    facts.emplace_back("peer_access", PeerAccessWord(link.peer_access()));
    links.samples.push_back({std::move(facts), 1});
    counts.samples.push_back({labels, static_cast<double>(link.nvlink_count())});
    // A pair that was never tried is unproven.
    const v1::PeerProof& proof = proofs[{link.from_uuid(), link.to_uuid()}];
    AddStates(verdicts, labels, "verdict",
              proof.verdict() == v1::PROOF_VERDICT_UNSPECIFIED ? v1::PROOF_VERDICT_UNPROVEN
                                                               : proof.verdict(),
              kVerdicts);
    lost.samples.push_back(
        {labels, lost_pairs.contains({link.from_uuid(), link.to_uuid()}) ? 1.0 : 0.0});
    if (proof.write_gigabytes_per_second() > 0) {
      bandwidths.samples.push_back({labels, proof.write_gigabytes_per_second() * 1e9});
    }
  }
  for (StateFamily* family : {&links, &counts, &verdicts, &lost, &bandwidths}) {
    families.push_back(std::move(*family));
  }
}

void DescribePools(const MetricsSnapshot& now, std::vector<StateFamily>& families) {
  StateFamily bytes{.name = "nodecomm_pool_bytes",
                    .help = "GPU memory that planes and shared buffers take."};
  StateFamily limit{.name = "nodecomm_pool_limit_bytes",
                    .help = "GPU memory that planes and shared buffers may take."};
  StateFamily planes{.name = "nodecomm_pool_planes", .help = "Planes and shared buffers."};
  StateFamily target{.name = "nodecomm_pool_planes_ready_target",
                     .help = "Planes that should be held ready."};
  StateFamily failing{.name = "nodecomm_pool_refill_failing",
                      .help = "1 if the last attempt to make a plane failed."};
  for (const v1::PoolInfo& pool : now.pools) {
    const Labels labels = {{"gpu_uuid", pool.gpu_uuid()}};
    const auto with_state = [&](const char* state) {
      return Labels{{"gpu_uuid", pool.gpu_uuid()}, {"state", state}};
    };
    bytes.samples.push_back({with_state("ready"), static_cast<double>(pool.bytes_ready())});
    bytes.samples.push_back({with_state("in_use"), static_cast<double>(pool.bytes_in_use())});
    limit.samples.push_back({labels, static_cast<double>(pool.bytes_max())});
    planes.samples.push_back({with_state("ready"), static_cast<double>(pool.planes_ready())});
    planes.samples.push_back({with_state("in_use"), static_cast<double>(pool.planes_in_use())});
    target.samples.push_back({labels, static_cast<double>(pool.planes_ready_target())});
    failing.samples.push_back({labels, pool.last_error().empty() ? 0.0 : 1.0});
  }
  for (StateFamily* family : {&bytes, &limit, &planes, &target, &failing}) {
    families.push_back(std::move(*family));
  }
}

}  // namespace

std::vector<StateFamily> DescribeState(const MetricsSnapshot& now) {
  std::vector<StateFamily> families;
  DescribeDaemon(now, families);
  DescribeGpus(now, families);
  DescribePairs(now, families);
  DescribePools(now, families);
  return families;
}

}  // namespace nodecomm
