// The GPUs, their NVLink fabric and the access of each to the others, as the daemon sees them.
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/doctor_checks.h"
#include "client/cli/text_table.h"
#include "client/cli/topology_words.h"

namespace nodecomm {
namespace {

bool HasGpu(const v1::Host& host, const std::string& uuid) {
  return std::any_of(host.gpus().begin(), host.gpus().end(),
                     [&](const v1::Gpu& gpu) { return gpu.uuid() == uuid; });
}

bool IsDrained(const v1::GetStatusResponse& status, const std::string& uuid) {
  return std::any_of(status.drains().begin(), status.drains().end(),
                     [&](const v1::GpuDrain& drain) {
                       return drain.gpu_uuid() == uuid && drain.state() == v1::DRAIN_STATE_DRAINED;
                     });
}

// As in the matrix of `topo`.
std::string LabelOf(const v1::Host& host, const std::string& uuid) {
  for (int i = 0; i < host.gpus_size(); ++i) {
    if (host.gpus(i).uuid() == uuid) return GpuLabel(i);
  }
  return RenderForeign(uuid);
}

std::string OrNoReason(const std::string& reason) {
  return reason.empty() ? "no reason given" : RenderForeign(reason);
}

std::string PairLabel(const v1::Host& host, const std::string& from, const std::string& to) {
  return absl::StrCat(LabelOf(host, from), " -> ", LabelOf(host, to));
}

// Behind a switch every GPU has as many NVLinks to each other as its ports allow, and GPUs of one
// host have the same number of ports. Without one, boards differ.
void CheckNvlinkCounts(const v1::Host& host, Report& report) {
  constexpr char kAdvice[] =
      "see which links are down (nvidia-smi nvlink -s), and look for SXid and NVLink in the "
      "kernel's log (dmesg); calls there are slower. Drain the GPUs and reset them, or the host";
  std::map<std::string, int> most_of;
  int most = 0;
  for (const v1::Link& link : host.links()) {
    if (link.kind() != v1::LINK_KIND_NVSWITCH) continue;
    int& count = most_of[link.from_uuid()];
    count = std::max(count, link.nvlink_count());
    most = std::max(most, link.nvlink_count());
  }
  const auto tell = [&](const std::string& subject, int count, int of) {
    report.WarnOf(subject, absl::StrFormat("%d of %d NVLinks are up", count, of), kAdvice);
  };
  for (const auto& [uuid, count] : most_of) {
    if (count < most) tell(LabelOf(host, uuid), count, most);
  }
  for (const v1::Link& link : host.links()) {
    if (link.kind() != v1::LINK_KIND_NVSWITCH) continue;
    const int expected = std::min(most_of[link.from_uuid()], most_of[link.to_uuid()]);
    if (link.nvlink_count() < expected) {
      tell(PairLabel(host, link.from_uuid(), link.to_uuid()), link.nvlink_count(), expected);
    }
  }
}

void CheckLinks(const DaemonFacts& daemon, Report& report) {
  const v1::Host& host = daemon.topology.host();
  for (const v1::LostAccess& lost : daemon.status.access_lost()) {
    report.ProblemOf(
        PairLabel(host, lost.from_uuid(), lost.to_uuid()),
        absl::StrCat("the driver says that there is none any more: ", OrNoReason(lost.reason())),
        "look at nvidia-smi nvlink -s and the kernel's log (dmesg); drain the GPUs and reset them, "
        "or the host. Groups get no fast path there meanwhile");
  }
  for (const v1::NvlinkErrors& counted : daemon.status.nvlink_errors()) {
    report.WarnOf(LabelOf(host, counted.gpu_uuid()),
                  absl::StrFormat("its NVLinks have counted %s since the daemon's start",
                                  Counted(static_cast<int64_t>(counted.errors()), "error")),
                  "see whether they go on (nvidia-smi nvlink -e): they cost time, and announce a "
                  "link that fails");
  }
  CheckNvlinkCounts(host, report);
}

bool IsInMigMode(const v1::Host& host, const std::string& uuid) {
  return std::any_of(host.gpus().begin(), host.gpus().end(), [&](const v1::Gpu& gpu) {
    return gpu.uuid() == uuid && gpu.mig_mode() == v1::MIG_MODE_ENABLED;
  });
}

// Lost or drained. Its pairs are not tried, and `pairs_unproven` does not count them.
bool IsOutOfService(const v1::Host& host, const std::string& uuid) {
  return std::any_of(host.gpus().begin(), host.gpus().end(), [&](const v1::Gpu& gpu) {
    return gpu.uuid() == uuid && gpu.condition() != v1::GPU_CONDITION_UNSPECIFIED;
  });
}

// As on boards of GPUs that are made without. What it had and has lost is told by itself.
bool HasNoneByDesign(const DaemonFacts& daemon, const v1::Link& link) {
  const auto& lost = daemon.status.access_lost();
  return link.kind() == v1::LINK_KIND_PCI && link.peer_access() == v1::PEER_ACCESS_NOT_SUPPORTED &&
         std::none_of(lost.begin(), lost.end(), [&](const v1::LostAccess& pair) {
           return pair.from_uuid() == link.from_uuid() && pair.to_uuid() == link.to_uuid();
         });
}

// By reason, since all pairs often have the same one. Where nothing at all is proven, something is
// wrong with the proving rather than with a pair; not where no pair could ever be proven.
void CheckUnproven(const DaemonFacts& daemon, Report& report) {
  const v1::Host& host = daemon.topology.host();
  const std::map<UuidPair, const v1::Link*> links = LinksOf(host);
  std::map<std::string, int> pairs_by_reason;
  std::map<std::string, int> pairs_by_design;
  int told = 0;
  for (const v1::PeerProof& proof : daemon.topology.proofs()) {
    if (proof.verdict() != v1::PROOF_VERDICT_UNPROVEN) continue;
    // Told of the GPU, as is MIG mode.
    if (IsOutOfService(host, proof.from_uuid()) || IsOutOfService(host, proof.to_uuid())) continue;
    ++told;
    if (IsInMigMode(host, proof.from_uuid()) || IsInMigMode(host, proof.to_uuid())) continue;
    const auto link = links.find({proof.from_uuid(), proof.to_uuid()});
    if (link != links.end() && HasNoneByDesign(daemon, *link->second)) {
      ++pairs_by_design[OrNoReason(link->second->peer_access_reason())];
    } else {
      ++pairs_by_reason[OrNoReason(proof.reason())];
    }
  }
  for (const auto& [reason, pairs] : pairs_by_design) {
    report.Warn(absl::StrFormat("the driver gives %s of GPUs no peer access, by design of the GPUs "
                                "or their board (%s): groups on them are refused",
                                Counted(pairs, "pair"), reason),
                "use another library for groups there, such as NCCL; there is nothing to mend");
  }
  const auto tell = [&](const std::string& reason, int pairs, const char* advice) {
    const std::string finding = absl::StrFormat("no proof, and so no fast path, for %s of GPUs: %s",
                                                Counted(pairs, "pair"), reason);
    if (daemon.status.pairs_proven() == 0) {
      report.Problem(finding, advice);
    } else {
      report.Warn(finding, advice);
    }
  };
  for (const auto& [reason, pairs] : pairs_by_reason) {
    tell(reason, pairs, "do what it says, then nodecommctl p2p check tries again");
  }
  const int untold = daemon.status.pairs_unproven() - told;
  if (untold > 0) tell("not tried yet", untold, "nodecommctl p2p check tries them");
}

}  // namespace

void CheckGpus(const HostFacts& facts, const DaemonFacts& daemon, Report& report) {
  report.Start("gpus");
  if (!daemon.asked.ok()) return report.Skip("the daemon could not be asked");
  if (!daemon.host_read.ok()) {
    return report.Problem(RenderForeign(std::string(daemon.host_read.message())),
                          IsSimulated(daemon)
                              ? "what was read before stays in force until then"
                              : "run nvidia-smi, and look for NVRM and Xid in the kernel's log "
                                "(dmesg); what was read before stays in force");
  }
  const v1::Host& host = daemon.topology.host();
  for (int i = 0; i < host.gpus_size(); ++i) {
    const v1::Gpu& gpu = host.gpus(i);
    const std::string label = absl::StrCat(GpuLabel(i), " (", RenderForeign(gpu.uuid()), ")");
    if (gpu.condition() == v1::GPU_CONDITION_LOST) {
      report.ProblemOf(label, absl::StrCat("lost: ", RenderForeign(gpu.condition_reason())),
                       "nodecommctl drain it, reset it (nvidia-smi --gpu-reset) or the host, then "
                       "nodecommctl undrain it");
    } else if (gpu.condition() == v1::GPU_CONDITION_DRAINING) {
      const bool drained = IsDrained(daemon.status, gpu.uuid());
      report.WarnOf(label,
                    drained ? "drained, and so out of service"
                            : "being drained: no new groups; something holds it still",
                    drained
                        ? "nodecommctl undrain takes it back"
                        : "nodecommctl drain --timeout 0 --gpu with its number names the groups "
                          "and processes; nodecommctl undrain takes it back");
    }
    if (gpu.mig_mode() == v1::MIG_MODE_ENABLED) {
      report.WarnOf(label, "in MIG mode, which has no peer access",
                    "nvidia-smi -mig 0, if its workers are to reduce with other GPUs");
    }
  }
  for (const v1::GpuDrain& drain : daemon.status.drains()) {
    if (drain.state() != v1::DRAIN_STATE_GONE) continue;
    report.Warn(absl::StrCat(RenderForeign(drain.gpu_uuid()),
                             " was drained, and this host has it no more: it is to be forgotten"),
                absl::StrCat("nodecommctl undrain --gpu ", RenderForeign(drain.gpu_uuid())));
  }
  if (!daemon.status.gpu_errors_problem().empty()) {
    report.Warn(
        RenderForeign(daemon.status.gpu_errors_problem()),
        absl::StrCat("look for Xid in the kernel's log (dmesg) meanwhile",
                     daemon.status.drains().empty() ? "" : ", and undrain when it is done"));
  }
  for (const v1::GpuAccessConfig& access : daemon.config.config().gpu_access()) {
    if (HasGpu(host, access.gpu_uuid())) continue;
    report.Warn(absl::StrCat("gpu_access names ", RenderForeign(access.gpu_uuid()),
                             ", which is no GPU of this host: it reserves nothing"),
                "write its gpu_uuid as nvidia-smi -L prints it, and reload (SIGHUP)");
  }
  for (const OtherDaemon& other : facts.daemons_elsewhere) {
    if (IsSimulated(daemon)) break;
    report.Warn(
        absl::StrFormat("nodecommd (process %d) serves %s on this host, too: each holds memory of "
                        "the GPUs, and a drain of one does not make the other let go",
                        other.pid, RenderForeign(other.runtime_dir)),
        absl::StrFormat(
            "one daemon serves all GPUs of a host: stop one of the two (its unit or its "
            "container, or kill -TERM %d), unless each was given GPUs of its own",
            other.pid));
  }
  if (host.gpus().empty()) {
    report.Problem("the daemon sees no GPU", "see the checks of driver and device files above");
  } else if (!IsSimulated(daemon) && facts.driver_gpus > host.gpus_size()) {
    // One that was lost before the daemon's start is in none of its lists.
    report.Problem(absl::StrFormat("the driver has %s, and the daemon sees %d",
                                   Counted(facts.driver_gpus, "GPU"), host.gpus_size()),
                   "compare nvidia-smi -L with lspci, and look for NVRM and Xid in the kernel's "
                   "log (dmesg); reset the GPU or the host, or give the daemon's container all "
                   "GPUs, then restart the daemon");
  }
  if (report.silent()) {
    report.Ok(absl::StrFormat("%d%s", host.gpus_size(), IsSimulated(daemon) ? ", simulated" : ""));
  }
}

void CheckFabric(const DaemonFacts& daemon, Report& report) {
  report.Start("fabric");
  if (!daemon.asked.ok()) return report.Skip("the daemon could not be asked");
  if (!daemon.host_read.ok()) return report.Skip("the host could not be read");
  bool has_fabric = false;
  const v1::Host& host = daemon.topology.host();
  for (int i = 0; i < host.gpus_size(); ++i) {
    const v1::FabricState state = host.gpus(i).fabric_state();
    has_fabric |= state == v1::FABRIC_STATE_COMPLETED;
    if (state == v1::FABRIC_STATE_NOT_STARTED || state == v1::FABRIC_STATE_IN_PROGRESS) {
      report.ProblemOf(GpuLabel(i), absl::StrCat("the NVLink fabric is ", FabricWord(state)),
                       "systemctl status nvidia-fabricmanager; its version must be the driver's");
    }
  }
  if (report.silent()) report.Ok(has_fabric ? "ready" : "none here");
}

void CheckPeerAccess(const DaemonFacts& daemon, Report& report) {
  report.Start("peer-access");
  if (!daemon.asked.ok()) return report.Skip("the daemon could not be asked");
  if (!daemon.host_read.ok()) return report.Skip("the host could not be read");
  if (daemon.topology.check().running()) {
    report.Warn("proofs are going on", "wait: nodecommctl p2p check");
  }
  for (const v1::PeerProof& proof : daemon.topology.proofs()) {
    if (proof.verdict() != v1::PROOF_VERDICT_FAILED) continue;
    report.ProblemOf(PairLabel(daemon.topology.host(), proof.from_uuid(), proof.to_uuid()),
                     absl::StrCat("it is broken: ", RenderForeign(proof.reason())),
                     "look for an IOMMU or ACS between the GPUs (nodecommctl topo --why), reset "
                     "them, and run nodecommctl p2p check --force");
  }
  CheckLinks(daemon, report);
  const v1::GetStatusResponse& status = daemon.status;
  if (!status.driver_trusted() && !daemon.topology.check().running()) CheckUnproven(daemon, report);
  if (report.silent()) {
    report.Ok(status.driver_trusted()
                  ? "the driver is trusted"
                  : absl::StrCat(Counted(status.pairs_proven(), "pair"), " proven"));
  }
}

}  // namespace nodecomm
