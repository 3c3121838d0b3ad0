#include "client/cli/doctor.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/base/version.h"
#include "client/cli/admin_client.h"
#include "client/cli/doctor_checks.h"
#include "client/cli/text_table.h"

namespace nodecomm {
namespace {

// CUDA 12.4: what libnodecomm and the allocator are built for.
constexpr int kCudaDriverVersionMin = 12040;

constexpr char kRaisePoolLimit[] =
    "raise pool.bytes_per_gpu_max, or end groups (nodecommctl groups)";

// There is a daemon, and it did not get to say whether it simulates a host.
bool MaySimulate(const HostFacts& host, const DaemonFacts& daemon) {
  return daemon.status.platform() == v1::PLATFORM_UNSPECIFIED &&
         (DaemonRuns(host, daemon) || absl::IsPermissionDenied(daemon.asked));
}

void CheckDriver(const HostFacts& host, const DaemonFacts& daemon, Report& report) {
  report.Start("driver");
  if (host.driver_version.empty() && MaySimulate(host, daemon)) {
    report.Skip(
        "no NVIDIA driver is loaded; whether the daemon needs one is unknown: it could not be "
        "asked "
        "whether it simulates a host");
  } else if (host.driver_version.empty()) {
    report.Problem("no NVIDIA driver is loaded (/proc/driver/nvidia/version is not there)",
                   "install the driver and load it (modprobe nvidia); in a container, start it "
                   "with the GPUs (--gpus all)");
  } else if (host.driver_gpus == 0) {
    report.Problem(absl::StrCat("driver ", host.driver_version, " drives no GPU"),
                   "look for the GPUs with lspci, and for NVRM in the kernel's log");
  } else {
    report.Ok(absl::StrCat(host.driver_version, ", ", Counted(host.driver_gpus, "GPU")));
  }
}

const char* AdviceOnDevice(int open_error) {
  switch (open_error) {
    case ENOENT:
      return "run nvidia-modprobe -u -c 0 as root, or nvidia-smi once; nvidia-persistenced does it "
             "at boot";
    case EPERM:
      return "a device cgroup forbids it: give the container or the unit the device (--gpus, "
             "DeviceAllow=)";
    case EACCES:
      return "run this as root, or as a user whom the file's mode allows; the daemon's user needs "
             "the same";
    case EIO:
    case ENODEV:
    case ENXIO:
      return "the GPU does not answer: look for Xid in the kernel's log, reset it or the host";
    default:
      return "look at the kernel's log";
  }
}

void CheckDevices(const HostFacts& host, Report& report) {
  report.Start("device-files");
  if (host.driver_version.empty()) return report.Skip("there is no driver");
  for (const DeviceFile& device : host.devices) {
    if (device.open_error == 0) continue;
    report.ProblemOf(device.path, std::strerror(device.open_error),
                     AdviceOnDevice(device.open_error));
  }
  const auto gpus = static_cast<int>(host.devices.size()) - 2;
  if (gpus < host.driver_gpus) {
    report.Warn(absl::StrCat(Counted(host.driver_gpus, "GPU"), ", but device files of ", gpus),
                "the container sees a part of the host, which is well for workers; the daemon "
                "needs all");
  }
  if (report.silent()) report.Ok(absl::StrFormat("%d can be opened", host.devices.size()));
}

void CheckPersistence(const HostFacts& host, Report& report) {
  report.Start("persistence");
  if (host.driver_version.empty()) return report.Skip("there is no driver");
  if (host.persistence_daemon) return report.Ok("nvidia-persistenced runs");
  if (host.in_container) return report.Skip("not to be seen from a container");
  report.Warn(
      "nvidia-persistenced does not run: GPUs that nobody uses are shut down, and memory "
      "that was exported is lost with that",
      "systemctl enable --now nvidia-persistenced");
}

void CheckVersions(const HostFacts& host, const DaemonFacts& daemon, Report& report) {
  report.Start("versions");
  if (!daemon.asked.ok()) return report.Skip("the daemon could not be asked");
  const v1::Version& version = daemon.status.version();
  const bool same = version.major() == kVersionMajor && version.minor() == kVersionMinor;
  if (!same) {
    report.Warn(absl::StrFormat("nodecommctl is %s, nodecommd is %d.%d.%d", kVersion,
                                version.major(), version.minor(), version.patch()),
                "restart the daemon after an upgrade; workers may be one minor version apart");
  }
  const v1::Host& seen = daemon.topology.host();
  if (!IsSimulated(daemon) && !host.driver_version.empty() && !seen.driver_version().empty() &&
      host.driver_version != seen.driver_version()) {
    report.Problem(absl::StrFormat("the driver that is loaded is %s, its libraries are %s",
                                   host.driver_version, seen.driver_version()),
                   "reboot, or unload and load the driver: it was upgraded under way");
  }
  if (!IsSimulated(daemon) && seen.cuda_driver_version() != 0 &&
      seen.cuda_driver_version() < kCudaDriverVersionMin) {
    report.Problem(
        absl::StrFormat("the driver knows CUDA %d.%d, and 12.4 is needed",
                        seen.cuda_driver_version() / 1000, seen.cuda_driver_version() % 1000 / 10),
        "install a newer driver");
  }
  const std::vector<std::string> kernel =
      absl::StrSplit(host.kernel_release, absl::ByAnyChar(".-"));
  int major = 0;
  int minor = 0;
  if (kernel.size() >= 2 && absl::SimpleAtoi(kernel[0], &major) &&
      absl::SimpleAtoi(kernel[1], &minor) && (major < 5 || (major == 5 && minor < 16))) {
    report.Warn(
        absl::StrCat("Linux ", host.kernel_release, " cannot wait for many futexes"),
        "deaths of workers are found within 5 ms instead of at once; 5.16 or later does it");
  }
  if (report.silent()) report.Ok(daemon.status.version_line());
}

// Our own limit, rather than the GPU, keeps the pool from another plane.
bool IsAtItsLimit(const v1::PoolInfo& pool) {
  return pool.bytes_ready() + pool.bytes_in_use() + pool.plane_bytes() > pool.bytes_max();
}

std::string AdviceOnPool(const v1::PoolInfo& pool) {
  return IsAtItsLimit(pool) ? kRaisePoolLimit : "see who holds its memory: nvidia-smi";
}

void CheckPools(const DaemonFacts& daemon, Report& report) {
  report.Start("pools");
  if (!daemon.asked.ok()) return report.Skip("the daemon could not be asked");
  for (const v1::PoolInfo& pool : daemon.pools.pools()) {
    const std::string gpu = absl::StrCat("GPU ", RenderForeign(pool.gpu_uuid()));
    if (!pool.last_error().empty() && pool.planes_ready() > 0) {
      report.WarnOf(
          gpu,
          absl::StrFormat("%d of %s ready, and no more can be made: %s", pool.planes_ready(),
                          Counted(pool.planes_ready_target(), "plane"),
                          RenderForeign(pool.last_error())),
          AdviceOnPool(pool));
    } else if (!pool.last_error().empty()) {
      report.ProblemOf(gpu,
                       absl::StrCat("no plane can be made: ", RenderForeign(pool.last_error())),
                       AdviceOnPool(pool));
    } else if (pool.bytes_in_use() / 9 * 10 > pool.bytes_max()) {
      report.WarnOf(
          gpu,
          absl::StrFormat("groups hold %s of at most %s", RenderBytes({pool.bytes_in_use()}),
                          RenderBytes({pool.bytes_max()})),
          kRaisePoolLimit);
    }
  }
  if (report.silent()) report.Ok("all can be filled");
}

void CheckContainer(const HostFacts& host, Report& report) {
  report.Start("container");
  if (host.socket_is_mounted) {
    report.Problem("a socket is mounted by itself: after the daemon's restart it leads nowhere",
                   absl::StrCat("mount the directory ", host.runtime_dir, " instead"));
  }
  if (host.lock_holder_facts.in_inner_pid_namespace) {
    report.Warn(absl::StrFormat("nodecommd (process %d) is in a PID namespace of its own: workers "
                                "outside of it are process 0 to it, and if it is killed their "
                                "groups end",
                                *host.lock_holder),
                "give its container the host's process ids (hostPID: true, --pid=host)");
  }
  if (host.fast_path_disabled_here) {
    report.Warn("NODECOMM_DISABLE is set here: workers of this environment use no fast path",
                "unset it");
  }
  if (host.in_container && report.silent()) {
    report.Ok("in one; workers need the runtime directory and their GPUs, no more namespaces");
  }
  if (report.silent()) report.Ok("not in one");
}

std::string VerdictWord(v1::DoctorVerdict verdict) {
  switch (verdict) {
    case v1::DOCTOR_VERDICT_OK:
      return "ok";
    case v1::DOCTOR_VERDICT_WARNING:
      return "warning";
    case v1::DOCTOR_VERDICT_PROBLEM:
      return "PROBLEM";
    case v1::DOCTOR_VERDICT_SKIPPED:
      return "skipped";
    default:
      return "unknown";
  }
}

}  // namespace

DaemonFacts AskDaemon(const std::string& runtime_dir) {
  DaemonFacts facts;
  const auto client = AdminClient::Connect(runtime_dir);
  facts.asked = client.status();
  facts.connected = client.ok();
  const auto take = [&](auto answer, auto& into) {
    // A daemon of an earlier version may lack a question, and is to be looked at all the same.
    if (!absl::IsUnimplemented(answer.status())) facts.asked.Update(answer.status());
    if (answer.ok()) into = *std::move(answer);
  };
  if (facts.asked.ok()) {
    // This one every version knows: without an answer nothing is known of the daemon.
    auto status = (*client)->GetStatus();
    facts.asked = status.status();
    if (status.ok()) facts.status = *std::move(status);
  }
  if (facts.asked.ok()) {
    auto topology = (*client)->GetTopology();
    // The daemon's answer, too: it has more to say.
    if (absl::IsFailedPrecondition(topology.status())) {
      facts.host_read = topology.status();
    } else {
      take(std::move(topology), facts.topology);
    }
  }
  if (facts.asked.ok()) take((*client)->ListPools(), facts.pools);
  if (facts.asked.ok()) take((*client)->ListGroups(), facts.groups);
  if (facts.asked.ok()) take((*client)->ListSessions(), facts.sessions);
  if (facts.asked.ok()) take((*client)->GetConfig(), facts.config);
  return facts;
}

v1::DoctorReport Diagnose(const HostFacts& host, const DaemonFacts& daemon) {
  Report report;
  if (IsSimulated(daemon)) {
    // Nothing of it is used.
    for (const char* check : {"driver", "device-files", "persistence"}) {
      report.Start(check);
      report.Skip("the daemon simulates a host");
    }
  } else {
    CheckDriver(host, daemon, report);
    CheckDevices(host, report);
    CheckPersistence(host, report);
  }
  CheckSocket(host, daemon, report);
  CheckPermissions(host, daemon, report);
  CheckFileSystem(host, report);
  CheckVersions(host, daemon, report);
  CheckGpus(host, daemon, report);
  CheckFabric(daemon, report);
  CheckPeerAccess(daemon, report);
  CheckPools(daemon, report);
  CheckRanks(host, daemon, report);
  CheckLimits(daemon, report);
  CheckContainer(host, report);
  return report.Take();
}

std::string RenderDoctor(const v1::DoctorReport& report) {
  std::string text;
  for (const v1::DoctorFinding& finding : report.findings()) {
    absl::StrAppend(&text, absl::StrFormat("%-12s  %-7s  %s\n", finding.check(),
                                           VerdictWord(finding.verdict()), finding.finding()));
    if (!finding.advice().empty()) {
      absl::StrAppend(&text, std::string(23, ' '), "-> ", finding.advice(), "\n");
    }
  }
  return absl::StrCat(text, Counted(report.problems(), "problem"), ", ",
                      Counted(report.warnings(), "warning"), "\n");
}

}  // namespace nodecomm
