// Every finding of the doctor: what is broken is named, with advice, and nothing else is.
#include "client/cli/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/base/unique_fd.h"
#include "client/base/version.h"
#include "client/cli/lock_holder.h"
#include "client/cli/process_facts.h"
#include "tests/client/cli/fake_admin.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

HostFacts SoundHost() {
  HostFacts host;
  host.driver_version = "580.95.05";
  host.driver_gpus = 2;
  for (const char* path : {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"}) {
    host.devices.push_back({.path = path});
  }
  host.persistence_daemon = true;
  host.kernel_release = "6.1.0-28-amd64";
  host.runtime_dir = "/run/nodecomm";
  host.runtime_dir_uid = 0;
  host.runtime_dir_mode = 0755;
  host.runtime_dir_room = {.bytes_free = uint64_t{100} << 20,
                           .bytes_total = uint64_t{1} << 30,
                           .files_free = 100'000,
                           .files_total = 200'000};
  host.lock_file = {.name = "nodecommd.lock", .exists = true, .uid = 0, .mode = 0600};
  host.lock_holder = 42;
  host.lock_holder_facts = {.state = 'S', .effective_uid = 0};
  for (const char* name :
       {"session.sock", "control.sock", "workers/session.sock", "workers/control.sock"}) {
    host.worker_sockets.push_back(
        {.name = name, .exists = true, .uid = 0, .mode = 0666, .is_socket = true});
  }
  return host;
}

DaemonFacts SoundDaemon() {
  DaemonFacts daemon;
  daemon.status.mutable_version()->set_major(kVersionMajor);
  daemon.status.mutable_version()->set_minor(kVersionMinor);
  daemon.status.set_platform(v1::PLATFORM_CUDA);
  daemon.status.set_sessions(2);
  daemon.status.set_open_fds(100);
  daemon.status.set_open_fds_max(524288);
  daemon.status.set_pairs_proven(2);
  v1::Host* host = daemon.topology.mutable_host();
  host->set_driver_version("580.95.05");
  host->set_cuda_driver_version(13000);
  for (const char* uuid : {"GPU-a", "GPU-b"}) {
    v1::Gpu* gpu = host->add_gpus();
    gpu->set_uuid(uuid);
    gpu->set_fabric_state(v1::FABRIC_STATE_COMPLETED);
    v1::PoolInfo* pool = daemon.pools.add_pools();
    pool->set_gpu_uuid(uuid);
    pool->set_bytes_max(uint64_t{4} << 30);
  }
  v1::LimitConfig* limits = daemon.config.mutable_config()->mutable_limits();
  limits->set_sessions_max(1024);
  limits->set_sessions_per_uid_max(256);
  limits->set_control_connections_per_uid_max(256);
  limits->set_groups_max(256);
  limits->set_groups_per_uid_max(64);
  daemon.connected = true;
  return daemon;
}

// Nobody answers.
DaemonFacts NoDaemon(absl::Status asked) {
  DaemonFacts daemon;
  daemon.asked = std::move(asked);
  return daemon;
}

// User 7 holds 144 MiB on GPU-a, user 8 less.
void AddGroups(DaemonFacts& daemon, uint64_t quota) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  daemon.config.mutable_config()->mutable_pool()->set_plane_bytes(36 * kMiB);
  daemon.config.mutable_config()->mutable_pool()->set_bytes_per_gpu_per_uid_max(quota);
  for (const uint32_t uid : {7, 7, 7, 8}) {
    v1::GroupInfo& group = *daemon.groups.add_groups();
    group.set_uid(uid);
    group.set_plane_bytes(36 * kMiB);
    group.set_state(v1::GROUP_STATE_READY);
    group.set_holds_memory(true);
    group.add_members()->set_gpu_uuid("GPU-a");
    group.add_members()->set_gpu_uuid("GPU-b");
  }
  daemon.groups.mutable_groups(0)->mutable_members(1)->set_gpu_uuid("GPU-a");  // two ranks there
  daemon.groups.add_groups()->add_members()->set_gpu_uuid("GPU-a");            // holds nothing yet
}

// No pair is proven.
void LeaveUnproven(DaemonFacts& daemon, const std::string& reason) {
  daemon.status.set_pairs_proven(0);
  daemon.status.set_pairs_unproven(2);
  for (const bool back : {false, true}) {
    v1::PeerProof& proof = *daemon.topology.add_proofs();
    proof.set_from_uuid(back ? "GPU-b" : "GPU-a");
    proof.set_to_uuid(back ? "GPU-a" : "GPU-b");
    proof.set_verdict(v1::PROOF_VERDICT_UNPROVEN);
    proof.set_reason(reason);
  }
}

// The first of a check.
const v1::DoctorFinding& FindingOf(const v1::DoctorReport& report, std::string_view check) {
  const auto it =
      std::find_if(report.findings().begin(), report.findings().end(),
                   [&](const v1::DoctorFinding& finding) { return finding.check() == check; });
  return it == report.findings().end() ? v1::DoctorFinding::default_instance() : *it;
}

void AddGpuToTheDriver(HostFacts& host) {
  ++host.driver_gpus;
  host.devices.push_back({.path = "/dev/nvidia2"});
}

// Both ways between three GPUs behind a switch, by `count` NVLinks.
void AddSwitchedLinks(HostFacts& facts, DaemonFacts& daemon, int count) {
  AddGpuToTheDriver(facts);
  v1::Host* const host = daemon.topology.mutable_host();
  host->add_gpus()->set_uuid("GPU-c");
  for (const v1::Gpu& from : host->gpus()) {
    for (const v1::Gpu& to : host->gpus()) {
      if (from.uuid() == to.uuid()) continue;
      v1::Link* const link = host->add_links();
      link->set_from_uuid(from.uuid());
      link->set_to_uuid(to.uuid());
      link->set_kind(v1::LINK_KIND_NVSWITCH);
      link->set_nvlink_count(count);
    }
  }
}

struct Broken {
  const char* check;
  v1::DoctorVerdict verdict;
  const char* finding;
  const char* advice;
  std::function<void(HostFacts&, DaemonFacts&)> how;
};

const std::vector<Broken>& BrokenHosts() {
  constexpr auto kProblem = v1::DOCTOR_VERDICT_PROBLEM;
  constexpr auto kWarning = v1::DOCTOR_VERDICT_WARNING;
  static const auto* const kCases = new std::vector<Broken>{
      {"driver", kProblem, "no NVIDIA driver is loaded", "modprobe nvidia",
       [](HostFacts& host, DaemonFacts&) { host.driver_version = ""; }},
      {"driver", kProblem, "drives no GPU", "lspci",
       [](HostFacts& host, DaemonFacts&) { host.driver_gpus = 0; }},
      {"device-files", kProblem, "/dev/nvidia-uvm: No such file", "nvidia-modprobe",
       [](HostFacts& host, DaemonFacts&) { host.devices[1].open_error = ENOENT; }},
      {"device-files", kProblem, "/dev/nvidia1: Operation not permitted", "device cgroup",
       [](HostFacts& host, DaemonFacts&) { host.devices[3].open_error = EPERM; }},
      {"device-files", kProblem, "/dev/nvidiactl: Permission denied", "as root",
       [](HostFacts& host, DaemonFacts&) { host.devices[0].open_error = EACCES; }},
      {"device-files", kProblem, "/dev/nvidia0: Input/output error", "Xid",
       [](HostFacts& host, DaemonFacts&) { host.devices[2].open_error = EIO; }},
      {"device-files", kWarning, "2 GPUs, but device files of 1", "daemon needs all",
       [](HostFacts& host, DaemonFacts&) { host.devices.pop_back(); }},
      {"persistence", kWarning, "nvidia-persistenced does not run", "enable --now",
       [](HostFacts& host, DaemonFacts&) { host.persistence_daemon = false; }},
      {"socket", kProblem, "no nodecommd", "journalctl",
       [](HostFacts& host, DaemonFacts& daemon) {
         daemon = NoDaemon(absl::UnavailableError("no nodecommd at /x"));
         host.lock_holder.reset();
         for (RuntimeFile& socket : host.worker_sockets) socket.exists = false;  // no wonder then
       }},
      {"socket", kProblem, "nodecommd serves it without a socket", "restart it: systemctl restart",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon = NoDaemon(absl::UnavailableError("nodecommd serves it without a socket"));
       }},
      {"socket", kProblem, "no nodecommd", "no nodecommd has ever run in /run/nodecomm",
       [](HostFacts& host, DaemonFacts& daemon) {
         daemon = NoDaemon(absl::UnavailableError("no nodecommd at /x"));
         host.lock_holder.reset();
         host.lock_file.exists = false;
         host.worker_sockets[0].exists = false;
       }},
      {"socket", kProblem, "no nodecommd", "run this on the host",
       [](HostFacts& host, DaemonFacts& daemon) {
         daemon = NoDaemon(absl::UnavailableError("no nodecommd at /x"));
         host.lock_holder.reset();
         host.lock_file.exists = false;
       }},
      {"socket", kProblem, "no nodecommd", "is not there: start nodecommd, or mount",
       [](HostFacts& host, DaemonFacts& daemon) {
         daemon = NoDaemon(absl::UnavailableError("no nodecommd at /x"));
         host.runtime_dir_error = ENOENT;
       }},
      {"socket", kProblem, "has 91 bytes", "no daemon can serve it: name a shorter one",
       [](HostFacts& host, DaemonFacts& daemon) {
         daemon = NoDaemon(absl::InvalidArgumentError("the runtime directory has 91 bytes"));
         host.runtime_dir = "/" + std::string(90, 'x');
         host.runtime_dir_error = ENOENT;
         host.lock_holder.reset();
       }},
      {"socket", kProblem, "serves a removed directory", "which ends groups in order",
       [](HostFacts& host, DaemonFacts& daemon) {
         daemon = NoDaemon(absl::UnavailableError("nodecommd serves a removed directory"));
         host.runtime_dir_error = ENOENT;
         host.lock_file.exists = false;
       }},
      {"socket", kProblem,
       "nodecommd (process 42) runs, but /run/nodecomm is not its directory any more",
       "findmnt /run/nodecomm",
       [](HostFacts& host, DaemonFacts& daemon) {
         daemon = NoDaemon(absl::UnavailableError("no nodecommd at /x"));
         host.lock_hidden = true;
         host.lock_file.exists = false;
         host.runtime_dir_uid = 7;
         for (RuntimeFile& socket : host.worker_sockets) socket.exists = false;
       }},
      {"socket", kProblem, "nodecommd (process 41) was started for /run/nodecomm, too",
       "kill -TERM 41",
       [](HostFacts& host, DaemonFacts&) { host.other_lock_holders = {41}; }},
      {"container", kWarning, "nodecommd (process 42) is in a PID namespace of its own", "hostPID",
       [](HostFacts& host, DaemonFacts&) {
         host.lock_holder_facts.in_inner_pid_namespace = true;
       }},
      {"socket", kProblem, "did not answer", "journalctl",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.asked = absl::DeadlineExceededError("nodecommd did not answer");
       }},
      {"socket", kProblem, "nodecommd did not answer (process 42)",
       "if it hangs, systemctl restart nodecommd, which ends groups; to keep them, kill it",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.asked = absl::DeadlineExceededError("nodecommd did not answer");
       }},
      {"socket", kProblem, "refuses: it answers root", "not allowed: run it as root",
       [](HostFacts&, DaemonFacts& daemon) {  // somebody has opened admin/ for all
         daemon.asked = absl::PermissionDeniedError("nodecommd refuses: it answers root");
       }},
      {"socket", kProblem,
       "nodecommd (process 42) has 1022 of at most 1024 files open, and so takes no connection",
       "raise LimitNOFILE= of its unit",
       [](HostFacts& host, DaemonFacts& daemon) {
         daemon.asked = absl::DeadlineExceededError("nodecommd did not answer");
         host.lock_holder_facts.open_files = 1022;
         host.lock_holder_facts.open_files_max = 1024;
       }},
      {"socket", kProblem, "nodecommd (process 42) is stopped, and so does not answer",
       "let it go on: kill -CONT 42",
       [](HostFacts& host, DaemonFacts& daemon) {
         daemon.asked = absl::DeadlineExceededError("nodecommd did not answer");
         host.lock_holder_facts.state = 'T';
       }},
      {"socket", kProblem, "nodecommd (process 42) is stopped by a debugger", "end the debugger",
       [](HostFacts& host, DaemonFacts& daemon) {  // its queue is full
         daemon = NoDaemon(absl::UnavailableError("nodecommd takes no connection"));
         host.lock_holder_facts.state = 't';
       }},
      {"socket", kProblem, "nodecommd (process 42) waits in the kernel", "dmesg",
       [](HostFacts& host, DaemonFacts& daemon) {
         daemon.asked = absl::DeadlineExceededError("nodecommd did not answer");
         host.lock_holder_facts.state = 'D';
       }},
      {"socket", kProblem, "session.sock is not there", "restart the daemon",
       [](HostFacts& host, DaemonFacts&) {
         host.worker_sockets[0].exists = false;
       }},
      {"socket", kProblem, "/x/admin/admin.sock", "run it as root or as the daemon's user",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon =
             NoDaemon(absl::PermissionDeniedError("not allowed to ask at /x/admin/admin.sock"));
       }},
      {"socket", kProblem, "/run/nodecomm/control.sock is not there: no worker can",
       "restart the daemon",
       [](HostFacts& host, DaemonFacts&) { host.worker_sockets[1].exists = false; }},
      {"socket", kProblem, "workers/control.sock is not there: no worker in a container can",
       "restart the daemon",
       [](HostFacts& host, DaemonFacts&) { host.worker_sockets[3].exists = false; }},
      {"socket", kProblem, "/run/nodecomm/session.sock is no socket: no worker can come",
       "remove what is there",
       [](HostFacts& host, DaemonFacts&) { host.worker_sockets[0].is_socket = false; }},
      {"socket", kProblem, "/run/nodecomm/groups is not there: no group can form",
       "restart the daemon",
       [](HostFacts& host, DaemonFacts& daemon) {
         host.record_directories = {{.name = "groups"},
                                    {.name = "sessions", .exists = true, .uid = 0, .mode = 0700}};
         daemon.status.set_not_ready("/run/nodecomm/groups was removed: restart the daemon");
         daemon.status.set_runtime_dir_problem("/run/nodecomm/groups was removed");
       }},
      {"socket", kProblem, "session.sock was replaced by another: whoever comes there",
       "restart the daemon",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.status.set_not_ready("session.sock was replaced by another: restart the daemon");
         daemon.status.set_runtime_dir_problem("session.sock was replaced by another");
       }},
      {"socket", kWarning, "it is not ready: stopping", "wait",
       [](HostFacts&, DaemonFacts& daemon) { daemon.status.set_not_ready("stopping"); }},
      {"socket", kProblem, "no group can form: writing in /run/n/groups: full; make room",
       "do what it says, and the daemon goes on by itself",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.status.set_write_problem("no group can form: writing in /run/n/groups: full; make room");
         daemon.status.set_not_ready(daemon.status.write_problem());
       }},
      {"socket", kWarning, "last reload failed", "mend the file",
       [](HostFacts&, DaemonFacts& daemon) { daemon.status.set_reload_problem("FILE:1:2"); }},
      {"socket", kWarning, "the metrics cannot be written: full", "ReadWritePaths=",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.status.set_metrics_problem("the metrics cannot be written: full");
       }},
      {"socket", kWarning, "3 lines of the log are lost: full", "ls -l /proc/42/fd/2",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.status.set_pid(42);
         daemon.status.set_log_problem("3 lines of the log are lost: full");
       }},
      {"socket", kWarning,
       "limits.sessions_max, metrics.port: changed in the file, and waits for a restart",
       "config show",
       [](HostFacts&, DaemonFacts& daemon) {
         for (const char* field : {"limits.sessions_max", "metrics.port"}) {
           daemon.config.add_waiting()->set_field(field);
         }
       }},
      {"permissions", kProblem, "others than the owner may write to /run/nodecomm (mode 0757)",
       "chmod go-w /run/nodecomm;",
       [](HostFacts& host, DaemonFacts&) { host.runtime_dir_mode = 0757; }},
      {"permissions", kProblem,
       "others than the owner may write to /run/nodecomm/admin (mode 0777), /run/nodecomm/groups "
       "(mode 0720), and so replace",
       "chmod go-w /run/nodecomm/admin /run/nodecomm/groups;",
       [](HostFacts& host, DaemonFacts&) {
         host.socket_directories = {{.name = "admin", .exists = true, .uid = 0, .mode = 0777},
                                    {.name = "workers", .exists = true, .uid = 0, .mode = 0755}};
         host.record_directories = {{.name = "groups", .exists = true, .uid = 0, .mode = 0720}};
       }},
      {"permissions", kProblem,
       "/run/nodecomm is closed to this user: it belongs to uid 0 and has mode 0700", "as root",
       [](HostFacts& host, DaemonFacts&) {
         host.runtime_dir_error = EACCES;
         host.runtime_dir_mode = 0700;
       }},
      {"permissions", kProblem, "a directory above it is closed to this user", "as root",
       [](HostFacts& host, DaemonFacts&) {
         host.runtime_dir_error = EACCES;
         host.runtime_dir_uid.reset();
       }},
      {"permissions", kProblem, "/run/nodecomm: Not a directory", "--runtime-dir",
       [](HostFacts& host, DaemonFacts&) { host.runtime_dir_error = ENOTDIR; }},
      {"permissions", kProblem,
       "not the daemon's, which runs as uid 9, but of others: /run/nodecomm/nodecommd.lock (uid 0), "
       "/run/nodecomm/groups (uid 0); it can make no group or session there, or does not start",
       "chown -R 9 /run/nodecomm/nodecommd.lock /run/nodecomm/groups",
       [](HostFacts& host, DaemonFacts&) {
         host.lock_holder_facts.effective_uid = 9;
         host.runtime_dir_uid = 9;
         for (RuntimeFile& socket : host.worker_sockets) socket.uid = 9;
         host.record_directories = {{.name = "groups", .exists = true, .uid = 0, .mode = 0700},
                                    {.name = "sessions", .exists = true, .uid = 9, .mode = 0700}};
       }},
      {"permissions", kProblem,
       "not the daemon's, which runs as uid 0, but of others: /run/nodecomm/sessions (uid 9); they "
       "may replace what the daemon reads",
       "chown -R 0 /run/nodecomm/sessions",
       [](HostFacts& host, DaemonFacts&) {
         host.record_directories = {{.name = "sessions", .exists = true, .uid = 9, .mode = 0700}};
       }},
      {"permissions", kProblem,
       "the daemon's own user may not write to /run/nodecomm/admin (mode 0000)",
       "chmod u+rwX /run/nodecomm/admin",
       [](HostFacts& host, DaemonFacts&) {
         host.lock_holder_facts.effective_uid = 9;
         host.runtime_dir_uid = 9;
         host.lock_file.uid = 9;
         for (RuntimeFile& socket : host.worker_sockets) socket.uid = 9;
         host.socket_directories = {{.name = "admin", .exists = true, .uid = 9, .mode = 0}};
       }},
      {"permissions", kWarning,
       "/run/nodecomm/workers is closed to workers of other users in containers: it has mode 0700",
       "chmod 0755 /run/nodecomm/workers",
       [](HostFacts& host, DaemonFacts&) {
         host.socket_directories = {{.name = "workers", .exists = true, .uid = 0, .mode = 0700}};
       }},
      {"permissions", kWarning, "is closed to workers of other users: it belongs to uid 0", "0755",
       [](HostFacts& host, DaemonFacts&) { host.runtime_dir_mode = 0700; }},
      {"permissions", kWarning,
       "not every user may connect to control.sock (mode 0600), workers/control.sock (mode 0640)",
       "chmod 0666 /run/nodecomm/control.sock /run/nodecomm/workers/control.sock",
       [](HostFacts& host, DaemonFacts&) {
         host.worker_sockets[1].mode = 0600;
         host.worker_sockets[3].mode = 0640;
       }},
      {"permissions", kProblem,
       "runs as uid 0, and these sockets belong to others, who may have made them: session.sock "
       "(uid 7)",
       "restart the daemon",
       [](HostFacts& host, DaemonFacts&) { host.worker_sockets[0].uid = 7; }},
      {"permissions", kProblem,
       "/run/nodecomm belongs to uid 7, but nodecommd (process 42) runs as uid 0",
       "chown -R 0 /run/nodecomm",
       [](HostFacts& host, DaemonFacts&) { host.runtime_dir_uid = 7; }},
      {"file-system", kProblem, "read-only", "dmesg",
       [](HostFacts& host, DaemonFacts&) { host.runtime_dir_room->read_only = true; }},
      {"file-system", kProblem,
       "no room for groups and sessions: /run/nodecomm has 0 left of 1 GiB", "remount,size=",
       [](HostFacts& host, DaemonFacts&) { host.runtime_dir_room->bytes_free = 0; }},
      {"file-system", kWarning, "little room for groups and sessions: /run/nodecomm has 1 MiB left",
       "remount,size=",
       [](HostFacts& host, DaemonFacts&) { host.runtime_dir_room->bytes_free = 1 << 20; }},
      {"file-system", kProblem, "has 3 files left of 200000", "remount,nr_inodes=",
       [](HostFacts& host, DaemonFacts&) { host.runtime_dir_room->files_free = 3; }},
      {"file-system", kWarning, "has 2000 files left of 200000", "df -i",
       [](HostFacts& host, DaemonFacts&) { host.runtime_dir_room->files_free = 2000; }},
      {"versions", kWarning, "nodecommd is 9.9.0", "upgrade",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.status.mutable_version()->set_major(9);
         daemon.status.mutable_version()->set_minor(9);
       }},
      {"versions", kProblem, "loaded is 570.1, its libraries are 580.95.05", "reboot",
       [](HostFacts& host, DaemonFacts&) { host.driver_version = "570.1"; }},
      {"versions", kProblem, "CUDA 12.2, and 12.4 is needed", "newer driver",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.topology.mutable_host()->set_cuda_driver_version(12020);
       }},
      {"versions", kWarning, "Linux 5.15.0-1", "5.16",
       [](HostFacts& host, DaemonFacts&) { host.kernel_release = "5.15.0-1"; }},
      {"gpus", kProblem, "GPU1 (GPU-b): lost: Xid 79", "undrain",
       [](HostFacts&, DaemonFacts& daemon) {
         v1::Gpu* gpu = daemon.topology.mutable_host()->mutable_gpus(1);
         gpu->set_condition(v1::GPU_CONDITION_LOST);
         gpu->set_condition_reason("Xid 79");
       }},
      {"gpus", kWarning, "GPU0 (GPU-a): being drained: no new groups", "undrain",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.topology.mutable_host()->mutable_gpus(0)->set_condition(v1::GPU_CONDITION_DRAINING);
       }},
      {"gpus", kWarning, "errors are watched on no GPU", "dmesg",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.status.set_gpu_errors_problem("errors are watched on no GPU");
       }},
      {"gpus", kWarning, "GPU1 (GPU-b): drained, and so out of service", "undrain",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.topology.mutable_host()->mutable_gpus(1)->set_condition(v1::GPU_CONDITION_DRAINING);
         v1::GpuDrain* const drain = daemon.status.add_drains();
         drain->set_gpu_uuid("GPU-b");
         drain->set_state(v1::DRAIN_STATE_DRAINED);
       }},
      {"gpus", kWarning, "GPU-c was drained, and this host has it no more", "undrain --gpu GPU-c",
       [](HostFacts&, DaemonFacts& daemon) {
         v1::GpuDrain* const drain = daemon.status.add_drains();
         drain->set_gpu_uuid("GPU-c");
         drain->set_state(v1::DRAIN_STATE_GONE);
       }},
      {"gpus", kWarning, "MIG mode", "-mig 0",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.topology.mutable_host()->mutable_gpus(0)->set_mig_mode(v1::MIG_MODE_ENABLED);
       }},
      {"gpus", kWarning, "gpu_access names GPU-c, which is no GPU of this host", "nvidia-smi -L",
       [](HostFacts&, DaemonFacts& daemon) {
         for (const char* uuid : {"GPU-a", "GPU-c"}) {
           daemon.config.mutable_config()->add_gpu_access()->set_gpu_uuid(uuid);
         }
       }},
      {"gpus", kProblem, "sees no GPU", "device files",
       [](HostFacts&, DaemonFacts& daemon) { daemon.topology.mutable_host()->clear_gpus(); }},
      {"fabric", kProblem, "GPU1: the NVLink fabric is in progress", "nvidia-fabricmanager",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.topology.mutable_host()->mutable_gpus(1)->set_fabric_state(
             v1::FABRIC_STATE_IN_PROGRESS);
       }},
      {"peer-access", kProblem, "GPU0 -> GPU1: it is broken: wrong", "IOMMU",
       [](HostFacts&, DaemonFacts& daemon) {
         v1::PeerProof* proof = daemon.topology.add_proofs();
         proof->set_from_uuid("GPU-a");
         proof->set_to_uuid("GPU-b");
         proof->set_verdict(v1::PROOF_VERDICT_FAILED);
         proof->set_reason("wrong");
       }},
      {"gpus", kWarning, "nodecommd (process 43) serves /other on this host, too", "kill -TERM 43",
       [](HostFacts& host, DaemonFacts&) {
         host.daemons_elsewhere.push_back({.pid = 43, .runtime_dir = "/other"});
       }},
      {"gpus", kProblem, "the driver has 3 GPUs, and the daemon sees 2", "dmesg",
       [](HostFacts& host, DaemonFacts&) { AddGpuToTheDriver(host); }},
      {"peer-access", kProblem,
       "GPU0 -> GPU1, GPU1 -> GPU0: the driver says that there is none any more: DISCONNECTED",
       "nvidia-smi nvlink -s",
       [](HostFacts&, DaemonFacts& daemon) {
         for (const bool back : {false, true}) {
           v1::LostAccess* const lost = daemon.status.add_access_lost();
           lost->set_from_uuid(back ? "GPU-b" : "GPU-a");
           lost->set_to_uuid(back ? "GPU-a" : "GPU-b");
           lost->set_reason("DISCONNECTED");
         }
       }},
      {"peer-access", kWarning, "GPU1: its NVLinks have counted 12 errors since the daemon's start",
       "nvidia-smi nvlink -e",
       [](HostFacts&, DaemonFacts& daemon) {
         v1::NvlinkErrors* const counted = daemon.status.add_nvlink_errors();
         counted->set_gpu_uuid("GPU-b");
         counted->set_errors(12);
       }},
      {"peer-access", kWarning, "GPU2: 17 of 18 NVLinks are up", "nvidia-smi nvlink -s",
       [](HostFacts& host, DaemonFacts& daemon) {
         AddSwitchedLinks(host, daemon, 18);
         for (v1::Link& link : *daemon.topology.mutable_host()->mutable_links()) {
           if (link.from_uuid() == "GPU-c") link.set_nvlink_count(17);
         }
       }},
      {"peer-access", kWarning, "GPU0 -> GPU1, GPU1 -> GPU0: 9 of 18 NVLinks are up",
       "nvidia-smi nvlink -s",
       [](HostFacts& host, DaemonFacts& daemon) {
         AddSwitchedLinks(host, daemon, 18);
         for (v1::Link& link : *daemon.topology.mutable_host()->mutable_links()) {
           if (link.from_uuid() != "GPU-c" && link.to_uuid() != "GPU-c") link.set_nvlink_count(9);
         }
       }},
      {"gpus", kWarning, "GPU1 (GPU-b): being drained", "undrain",  // and nothing of its pairs
       [](HostFacts&, DaemonFacts& daemon) {
         LeaveUnproven(daemon, "GPU-b is being taken out of service");
         daemon.status.set_pairs_unproven(0);
         daemon.topology.mutable_host()->mutable_gpus(1)->set_condition(
             v1::GPU_CONDITION_DRAINING);
       }},
      {"peer-access", kProblem, "GPU0 -> GPU1: the driver says that there is none any more: no reason",
       "nvidia-smi nvlink -s",
       [](HostFacts&, DaemonFacts& daemon) {
         v1::LostAccess* const lost = daemon.status.add_access_lost();
         lost->set_from_uuid("GPU-a");
         lost->set_to_uuid("GPU-b");
       }},
      {"peer-access", kWarning, "no proof, and so no fast path, for 2 pairs of GPUs: not tried yet",
       "nodecommctl p2p check tries them",
       [](HostFacts&, DaemonFacts& daemon) { daemon.status.set_pairs_unproven(2); }},
      {"peer-access", kProblem,
       "no proof, and so no fast path, for 2 pairs of GPUs: starting nodecomm-probe: No such file",
       "p2p check",
       [](HostFacts&, DaemonFacts& daemon) {
         LeaveUnproven(daemon, "starting nodecomm-probe: No such file");
       }},
      {"peer-access", kWarning,
       "the driver gives 2 pairs of GPUs no peer access, by design of the GPUs or their board "
       "(CHIPSET): groups on them are refused",
       "NCCL; there is nothing to mend",
       [](HostFacts&, DaemonFacts& daemon) {
         LeaveUnproven(daemon, "not tried");
         for (const v1::PeerProof& proof : daemon.topology.proofs()) {
           v1::Link& link = *daemon.topology.mutable_host()->add_links();
           link.set_from_uuid(proof.from_uuid());
           link.set_to_uuid(proof.to_uuid());
           link.set_kind(v1::LINK_KIND_PCI);
           link.set_peer_access(v1::PEER_ACCESS_NOT_SUPPORTED);
           link.set_peer_access_reason("CHIPSET");
         }
       }},
      {"gpus", kWarning, "GPU0 (GPU-a): in MIG mode, which has no peer access", "nvidia-smi -mig 0",
       [](HostFacts&, DaemonFacts& daemon) {
         LeaveUnproven(daemon, "GPU-a is in MIG mode, which has no peer access");
         daemon.topology.mutable_host()->mutable_gpus(0)->set_mig_mode(v1::MIG_MODE_ENABLED);
       }},
      {"peer-access", kWarning, "proofs are going on", "wait",
       [](HostFacts&, DaemonFacts& daemon) { daemon.topology.mutable_check()->set_running(true); }},
      {"pools", kProblem, "GPU-b: no plane can be made: full", "nvidia-smi",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.pools.mutable_pools(1)->set_last_error("full");
       }},
      {"pools", kProblem, "GPU-b: no plane can be made: no room", "raise pool.bytes_per_gpu_max",
       [](HostFacts&, DaemonFacts& daemon) {
         v1::PoolInfo* pool = daemon.pools.mutable_pools(1);
         pool->set_last_error("no room");
         pool->set_plane_bytes(uint64_t{36} << 20);
         pool->set_bytes_in_use(pool->bytes_max() - (uint64_t{35} << 20));
       }},
      {"pools", kWarning, "GPU-b: 1 of 2 planes ready, and no more can be made: full",
       "nvidia-smi",
       [](HostFacts&, DaemonFacts& daemon) {
         v1::PoolInfo* pool = daemon.pools.mutable_pools(1);
         pool->set_last_error("full");
         pool->set_planes_ready(1);
         pool->set_planes_ready_target(2);
       }},
      {"pools", kWarning, "groups hold 3.9 GiB of at most 4 GiB", "pool.bytes_per_gpu_max",
       [](HostFacts&, DaemonFacts& daemon) {
         daemon.pools.mutable_pools(0)->set_bytes_in_use(uint64_t{3999} << 20);
       }},
      {"groups", kWarning, "rank 1 of model (generation 7, process 42) is stopped", "kill -CONT 42",
       [](HostFacts&, DaemonFacts& daemon) {
         v1::GroupInfo& group = *daemon.groups.add_groups();
         group.set_name("model");
         group.set_generation(7);
         v1::GroupMember& member = *group.add_members();
         member.set_rank(1);
         member.set_pid(42);
         member.set_process_state(v1::PROCESS_STATE_STOPPED);
       }},
      {"groups", kWarning, "is stopped; the group has ended, and its memory is held", "end it",
       [](HostFacts&, DaemonFacts& daemon) {
         v1::GroupInfo& group = *daemon.groups.add_groups();
         group.set_state(v1::GROUP_STATE_ABORTED);
         group.add_members()->set_process_state(v1::PROCESS_STATE_STOPPED);
       }},
      {"groups", kWarning, "model (generation 7): its page was removed", "before the daemon",
       [](HostFacts&, DaemonFacts& daemon) {
         v1::GroupInfo& group = *daemon.groups.add_groups();
         group.set_name("model");
         group.set_generation(7);
         group.set_files_problem("its page was removed");
       }},
      {"groups", kProblem,
       "model (generation 7): its control page /run/n/page has 0 bytes instead of 4096: workers that "
       "read it die (SIGBUS)",
       "nodecommctl abort 7",
       [](HostFacts& host, DaemonFacts& daemon) {
         for (const auto state : {v1::GROUP_STATE_READY, v1::GROUP_STATE_GATHERING}) {
           v1::GroupInfo& group = *daemon.groups.add_groups();
           group.set_name("model");
           group.set_generation(state == v1::GROUP_STATE_READY ? 7 : 8);
           group.set_state(state);
           host.cut_pages.push_back({.path = "/run/n/page", .generation = group.generation()});
         }
       }},
      {"groups", kWarning, "model has waited 15s for ranks 2, 3", "same name, key and user",
       [](HostFacts&, DaemonFacts& daemon) {
         v1::GroupInfo& group = *daemon.groups.add_groups();
         group.set_name("model");
         group.set_state(v1::GROUP_STATE_GATHERING);
         group.set_state_ms(15'000);
         for (const int rank : {2, 3}) group.add_missing_ranks(rank);
       }},
      {"groups", kWarning, "users 7 and 8 each have a group model: these are different groups",
       "as one user",
       [](HostFacts&, DaemonFacts& daemon) {
         for (const uint32_t uid : {7, 8}) {
           v1::GroupInfo& group = *daemon.groups.add_groups();
           group.set_name("model");
           group.set_uid(uid);
           group.set_state(uid == 7 ? v1::GROUP_STATE_READY : v1::GROUP_STATE_GATHERING);
         }
       }},
      {"groups", kWarning,
       "user 7 has two groups model that gather, with different keys: each waits for ranks that "
       "have joined the other",
       "the same key",
       [](HostFacts&, DaemonFacts& daemon) {
         for (const int rank : {0, 1}) {
           v1::GroupInfo& group = *daemon.groups.add_groups();
           group.set_name("model");
           group.set_uid(7);
           group.set_state(v1::GROUP_STATE_GATHERING);
           group.add_members()->set_rank(rank);
           group.add_missing_ranks(1 - rank);
         }
       }},
      {"limits", kWarning, "1000 sessions of at most 1024", "limits.sessions_max",
       [](HostFacts&, DaemonFacts& daemon) { daemon.status.set_sessions(1000); }},
      {"limits", kWarning, "user 7 has 231 sessions of at most 256", "limits.sessions_per_uid_max",
       [](HostFacts&, DaemonFacts& daemon) {
         for (int i = 0; i < 231; ++i) daemon.sessions.add_sessions()->set_uid(7);
         for (int i = 0; i < 200; ++i) daemon.sessions.add_sessions()->set_uid(8);
       }},
      {"limits", kWarning, "user 8 has 256 connections to control.sock of at most 256",
       "limits.control_connections_per_uid_max",
       [](HostFacts&, DaemonFacts& daemon) {
         for (const uint32_t uid : {7, 8}) {
           v1::UserConnections* const of_user = daemon.status.add_control_connections();
           of_user->set_uid(uid);
           of_user->set_connections(uid == 7 ? 200 : 256);
         }
       }},
      {"limits", kWarning, "231 groups of at most 256", "limits.groups_max",
       [](HostFacts&, DaemonFacts& daemon) {
         for (uint32_t i = 0; i < 231; ++i) daemon.groups.add_groups()->set_uid(i);
       }},
      {"limits", kWarning, "user 7 has 58 groups of at most 64", "limits.groups_per_uid_max",
       [](HostFacts&, DaemonFacts& daemon) {
         for (int i = 0; i < 58; ++i) daemon.groups.add_groups()->set_uid(7);
       }},
      {"limits", kWarning, "groups of user 7 hold 144 MiB of at most 160 MiB on GPU GPU-a",
       "pool.bytes_per_gpu_per_uid_max",
       [](HostFacts&, DaemonFacts& daemon) {
         AddGroups(daemon, uint64_t{160} << 20);
         daemon.config.mutable_config()->mutable_pool()->set_plane_bytes(uint64_t{2} << 20);
       }},
      {"limits", kWarning, "groups of user 7 hold 144 MiB of at most 170 MiB on GPU GPU-a",
       "pool.bytes_per_gpu_per_uid_max",  // no room for another plane
       [](HostFacts&, DaemonFacts& daemon) { AddGroups(daemon, uint64_t{170} << 20); }},
      {"limits", kWarning, "on GPU GPU-a; process 11 is in 3 groups",
       "pool.bytes_per_gpu_per_uid_max",
       [](HostFacts&, DaemonFacts& daemon) {
         AddGroups(daemon, uint64_t{144} << 20);
         for (v1::GroupInfo& group : *daemon.groups.mutable_groups()) {
           for (v1::GroupMember& member : *group.mutable_members()) {
             member.set_pid(group.uid() == 7 ? 11 : 12);
           }
         }
       }},
      {"limits", kWarning, "has 353895 of at most 524288 files open", "LimitNOFILE",
       [](HostFacts&, DaemonFacts& daemon) { daemon.status.set_open_fds(353895); }},
      {"limits", kWarning, "may open 1024 files", "LimitNOFILE=7168",
       [](HostFacts&, DaemonFacts& daemon) { daemon.status.set_open_fds_max(1024); }},
      {"container", kProblem, "a socket is mounted by itself", "mount the directory /run/nodecomm",
       [](HostFacts& host, DaemonFacts&) { host.socket_is_mounted = true; }},
      {"container", kWarning, "NODECOMM_DISABLE is set", "unset",
       [](HostFacts& host, DaemonFacts&) { host.fast_path_disabled_here = true; }},
  };
  return *kCases;
}

TEST(Doctor, FindsNothingWrongWithASoundHost) {
  const v1::DoctorReport report = Diagnose(SoundHost(), SoundDaemon());
  EXPECT_EQ(report.findings_size(), 14);
  for (const v1::DoctorFinding& finding : report.findings()) {
    EXPECT_EQ(finding.verdict(), v1::DOCTOR_VERDICT_OK) << finding.DebugString();
    EXPECT_EQ(finding.advice(), "");
  }
  EXPECT_EQ(report.problems() + report.warnings(), 0);
}

TEST(Doctor, NamesWhatIsBrokenAndWhatToDoAboutIt) {
  for (const Broken& broken : BrokenHosts()) {
    HostFacts host = SoundHost();
    DaemonFacts daemon = SoundDaemon();
    broken.how(host, daemon);
    const v1::DoctorReport report = Diagnose(host, daemon);
    int found = 0;
    for (const v1::DoctorFinding& finding : report.findings()) {
      if (finding.verdict() == v1::DOCTOR_VERDICT_OK ||
          finding.verdict() == v1::DOCTOR_VERDICT_SKIPPED) {
        continue;
      }
      ++found;
      EXPECT_EQ(finding.check(), broken.check) << finding.DebugString();
      EXPECT_EQ(finding.verdict(), broken.verdict) << finding.DebugString();
      EXPECT_THAT(finding.finding(), HasSubstr(broken.finding));
      EXPECT_THAT(finding.advice(), HasSubstr(broken.advice));
    }
    EXPECT_EQ(found, 1) << broken.finding;
    EXPECT_EQ(report.problems() + report.warnings(), 1) << broken.finding;
  }
}

TEST(Doctor, WhatSeveralGpusHaveInCommonIsSaidOnce) {
  DaemonFacts daemon = SoundDaemon();
  v1::Host* const host = daemon.topology.mutable_host();
  host->add_gpus()->set_uuid("GPU-c");
  host->mutable_gpus(0)->set_fabric_state(v1::FABRIC_STATE_NOT_STARTED);
  host->mutable_gpus(1)->set_fabric_state(v1::FABRIC_STATE_IN_PROGRESS);
  host->mutable_gpus(2)->set_fabric_state(v1::FABRIC_STATE_NOT_STARTED);
  HostFacts facts = SoundHost();
  for (DeviceFile& device : facts.devices) device.open_error = EACCES;
  const v1::DoctorReport report = Diagnose(facts, daemon);
  EXPECT_EQ(report.problems(), 3) << report.DebugString();
  EXPECT_EQ(FindingOf(report, "device-files").finding(),
            "/dev/nvidiactl, /dev/nvidia-uvm, /dev/nvidia0, /dev/nvidia1: Permission denied");
  EXPECT_EQ(FindingOf(report, "fabric").finding(), "GPU0, GPU2: the NVLink fabric is not started");
}

TEST(Doctor, BoardsWithoutASwitchMayHavePairsWithFewerLinks) {
  DaemonFacts daemon = SoundDaemon();
  HostFacts facts = SoundHost();
  AddSwitchedLinks(facts, daemon, 2);
  for (v1::Link& link : *daemon.topology.mutable_host()->mutable_links()) {
    link.set_kind(v1::LINK_KIND_NVLINK);
  }
  daemon.topology.mutable_host()->mutable_links(0)->set_nvlink_count(1);
  const v1::DoctorReport report = Diagnose(facts, daemon);
  EXPECT_EQ(report.problems() + report.warnings(), 0) << report.DebugString();
}

TEST(Doctor, LooksAtTheRestWhereTheHostCannotBeRead) {
  DaemonFacts daemon = SoundDaemon();
  daemon.topology.Clear();
  daemon.host_read = absl::FailedPreconditionError("the host cannot be read: NVML: timeout");
  v1::PoolInfo& pool = *daemon.pools.mutable_pools(0);
  pool.set_last_error("out of memory");
  const v1::DoctorReport report = Diagnose(SoundHost(), daemon);
  EXPECT_EQ(report.problems(), 2) << report.DebugString();
  EXPECT_EQ(FindingOf(report, "socket").verdict(), v1::DOCTOR_VERDICT_OK);
  EXPECT_THAT(FindingOf(report, "gpus").finding(), HasSubstr("the host cannot be read: NVML"));
  EXPECT_THAT(FindingOf(report, "gpus").advice(), HasSubstr("nvidia-smi"));
  EXPECT_EQ(FindingOf(report, "fabric").verdict(), v1::DOCTOR_VERDICT_SKIPPED);
  EXPECT_EQ(FindingOf(report, "peer-access").verdict(), v1::DOCTOR_VERDICT_SKIPPED);
  EXPECT_THAT(FindingOf(report, "pools").finding(), HasSubstr("out of memory"));
}

TEST(Doctor, SimulatedHostNeedsNoDriver) {
  DaemonFacts daemon = SoundDaemon();
  daemon.status.set_platform(v1::PLATFORM_SIMULATED);
  HostFacts host = SoundHost();
  host.driver_version = "";
  host.devices.clear();
  const v1::DoctorReport report = Diagnose(host, daemon);
  EXPECT_EQ(report.problems() + report.warnings(), 0) << report.DebugString();
  EXPECT_EQ(report.findings(0).verdict(), v1::DOCTOR_VERDICT_SKIPPED);
}

TEST(Doctor, SimulatedHostNeedsNoDriverWhenALaterQuestionFails) {
  DaemonFacts daemon = SoundDaemon();
  daemon.status.set_platform(v1::PLATFORM_SIMULATED);
  daemon.asked = absl::DeadlineExceededError("nodecommd did not answer");
  HostFacts host = SoundHost();
  host.driver_version = "";
  const v1::DoctorReport report = Diagnose(host, daemon);
  EXPECT_EQ(report.findings(0).verdict(), v1::DOCTOR_VERDICT_SKIPPED) << report.DebugString();
  EXPECT_EQ(report.problems(), 1);  // that it did not answer
}

TEST(Doctor, DoesNotKnowWhetherADriverIsNeededWhereADaemonDoesNotSay) {
  HostFacts host = SoundHost();
  host.driver_version = "";
  DaemonFacts hangs = NoDaemon(absl::DeadlineExceededError("nodecommd did not answer"));
  hangs.connected = true;
  const DaemonFacts closed = NoDaemon(absl::PermissionDeniedError("not allowed"));
  const DaemonFacts no_socket = NoDaemon(absl::UnavailableError("without a socket"));
  for (const DaemonFacts& daemon : {hangs, closed, no_socket}) {
    const v1::DoctorFinding driver = Diagnose(host, daemon).findings(0);
    EXPECT_EQ(driver.verdict(), v1::DOCTOR_VERDICT_SKIPPED) << daemon.asked;
    EXPECT_THAT(driver.finding(), HasSubstr("is unknown"));
  }
  host.lock_holder.reset();
  EXPECT_EQ(Diagnose(host, no_socket).findings(0).verdict(), v1::DOCTOR_VERDICT_PROBLEM);
}

TEST(Doctor, DoesNotAdviseToKillADaemonThatWouldNotSeeItsWorkersAgain) {
  HostFacts host = SoundHost();
  host.lock_holder_facts.state = 'T';
  const DaemonFacts silent = NoDaemon(absl::UnavailableError("no answer"));
  EXPECT_THAT(FindingOf(Diagnose(host, silent), "socket").advice(),
              HasSubstr("to keep them, kill"));
  host.lock_holder_facts.in_inner_pid_namespace = true;
  EXPECT_THAT(FindingOf(Diagnose(host, silent), "socket").advice(),
              HasSubstr("nothing keeps them"));
}

TEST(Doctor, DoesNotAdviseToKillADaemonThatClosesAConnection) {
  DaemonFacts daemon = SoundDaemon();
  daemon.asked = absl::UnavailableError("nodecommd closed the connection");
  const v1::DoctorReport stops = Diagnose(SoundHost(), daemon);
  EXPECT_THAT(FindingOf(stops, "socket").finding(), HasSubstr("(process 42)"));
  EXPECT_THAT(FindingOf(stops, "socket").advice(), Not(HasSubstr("kill")));
  daemon.asked = absl::ResourceExhaustedError("uid 0 has 64 connections already");
  const v1::DoctorReport full = Diagnose(SoundHost(), daemon);
  EXPECT_EQ(full.problems(), 1);
  EXPECT_THAT(FindingOf(full, "socket").finding(),
              AllOf(HasSubstr("it lives"), HasSubstr("uid 0 has 64 connections already")));
  EXPECT_THAT(FindingOf(full, "socket").advice(),
              AllOf(HasSubstr("needs no restart"), Not(HasSubstr("kill"))));
}

TEST(Doctor, TellsItsOwnLimitsFromTheDaemons) {
  DaemonFacts daemon = SoundDaemon();
  daemon.asked = absl::ResourceExhaustedError("this process may have 3 more threads");
  daemon.connected = false;
  const v1::DoctorReport report = Diagnose(SoundHost(), daemon);
  EXPECT_THAT(FindingOf(report, "socket").finding(), HasSubstr("3 more threads"));
  EXPECT_THAT(FindingOf(report, "socket").advice(),
              AllOf(HasSubstr("a limit of nodecommctl"), Not(HasSubstr("restart"))));
}

// Every version of the daemon knows the first question; of later ones an older one may lack some.
TEST(Doctor, TakesNoAnswerForNoDaemonThatAnswers) {
  const FakeRuntimeDir dir;
  FakeAdminAnswers answers;
  answers.error = grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "");
  const FakeAdmin admin(dir, answers);
  const DaemonFacts daemon = AskDaemon(dir.path());
  EXPECT_FALSE(daemon.asked.ok());
  const v1::DoctorReport report = Diagnose(SoundHost(), daemon);
  EXPECT_EQ(FindingOf(report, "socket").verdict(), v1::DOCTOR_VERDICT_PROBLEM);
  EXPECT_EQ(FindingOf(report, "versions").verdict(), v1::DOCTOR_VERDICT_SKIPPED);
}

TEST(Doctor, SaysWhichPermissionsItHasLookedAt) {
  HostFacts host = SoundHost();
  EXPECT_THAT(FindingOf(Diagnose(host, SoundDaemon()), "permissions").finding(),
              AllOf(HasSubstr("belongs to uid 0 and has mode 0755"),
                    HasSubstr("every user may connect to the sockets")));
  host.lock_holder.reset();
  host.worker_sockets[1].mode = 0600;  // left by a daemon that is gone
  const DaemonFacts none = NoDaemon(absl::UnavailableError("no nodecommd at /x"));
  const v1::DoctorReport report = Diagnose(host, none);
  EXPECT_EQ(FindingOf(report, "permissions").verdict(), v1::DOCTOR_VERDICT_OK);
  EXPECT_THAT(FindingOf(report, "permissions").finding(),
              HasSubstr("no daemon runs, so the sockets were not looked at"));
  // The next one would not start.
  host.lock_holder_facts = {};
  host.runtime_dir_uid = 9;
  EXPECT_THAT(FindingOf(Diagnose(host, none), "permissions").advice(),
              HasSubstr("chown -R 9 /run/nodecomm/nodecommd.lock"));
}

TEST(Doctor, OnlyContainersOfWorkersMayMountTheDirectoryReadOnly) {
  HostFacts host = SoundHost();
  host.in_container = true;
  host.runtime_dir_room->read_only = true;
  const v1::DoctorReport with_daemon = Diagnose(host, SoundDaemon());
  EXPECT_EQ(FindingOf(with_daemon, "file-system").verdict(), v1::DOCTOR_VERDICT_PROBLEM);
  EXPECT_THAT(FindingOf(with_daemon, "file-system").finding(), HasSubstr("read-only"));
  host.lock_holder.reset();
  EXPECT_EQ(FindingOf(Diagnose(host, SoundDaemon()), "file-system").verdict(),
            v1::DOCTOR_VERDICT_WARNING);
  host.lock_file.exists = false;  // workers/ alone
  EXPECT_EQ(FindingOf(Diagnose(host, SoundDaemon()), "file-system").verdict(),
            v1::DOCTOR_VERDICT_OK);
}

TEST(Doctor, FileSystemsWithoutABoundHaveRoom) {
  HostFacts host = SoundHost();
  host.runtime_dir_room = FileSystemRoom();
  EXPECT_EQ(Diagnose(host, SoundDaemon()).problems(), 0);
}

// A rank that starts, and two jobs of one user that have the same name.
TEST(Doctor, GroupsThatComeAboutAreNoTrouble) {
  DaemonFacts daemon = SoundDaemon();
  for (int i = 0; i < 2; ++i) {
    v1::GroupInfo& group = *daemon.groups.add_groups();
    group.set_name("model");
    group.set_uid(7);
    group.set_state(v1::GROUP_STATE_GATHERING);
    group.set_state_ms(14'000);
    group.add_members()->set_rank(0);
    group.add_missing_ranks(1);
  }
  EXPECT_EQ(FindingOf(Diagnose(SoundHost(), daemon), "groups").verdict(), v1::DOCTOR_VERDICT_OK);
}

TEST(Doctor, DaemonThatDoesNotTellItsDescriptorsIsNotJudgedByThem) {
  DaemonFacts daemon = SoundDaemon();
  daemon.status.clear_open_fds();
  daemon.status.clear_open_fds_max();
  EXPECT_EQ(Diagnose(SoundHost(), daemon).warnings(), 0);
}

TEST(Doctor, TextHasALineACheckAndAdviceBelow) {
  HostFacts host = SoundHost();
  host.persistence_daemon = false;
  const std::string text = RenderDoctor(Diagnose(host, SoundDaemon()));
  EXPECT_THAT(text, HasSubstr("driver        ok       580.95.05, 2 GPUs\n"));
  EXPECT_THAT(text, HasSubstr("persistence   warning  nvidia-persistenced does not run"));
  EXPECT_THAT(text, HasSubstr("\n                       -> systemctl enable"));
  EXPECT_THAT(text, HasSubstr("\n0 problems, 1 warning\n"));
}

// --- facts, of a host that lies in a directory

class HostFactsTest : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_.path() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  HostFacts Read() { return ReadHostFacts({.runtime_dir = "/run/nc", .root = root_.path()}); }

  TemporaryDirectory root_;
};

TEST_F(HostFactsTest, EmptyHostHasNothing) {
  const HostFacts facts = Read();
  EXPECT_EQ(facts.driver_version, "");
  EXPECT_TRUE(facts.devices.empty());
  EXPECT_FALSE(facts.persistence_daemon || facts.in_container || facts.socket_is_mounted);
}

TEST_F(HostFactsTest, FindsDriverDevicesPersistenceKernelAndContainer) {
  Write("/proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n");
  std::filesystem::create_directories(root_.path() + "/proc/driver/nvidia/gpus/0000:18:00.0");
  Write("/dev/nvidiactl", "");
  Write("/dev/nvidia0", "");
  Write("/dev/nvidia-caps-dir", "");
  Write("/run/nvidia-persistenced/socket", "");
  Write("/proc/sys/kernel/osrelease", "6.1.0\n");
  Write("/run/.containerenv", "");
  Write("/proc/self/mountinfo", "36 35 98:0 /x /run/nc/control.sock rw - ext4 /dev/sda1 rw\n");
  const HostFacts facts = Read();
  EXPECT_EQ(facts.driver_version, "580.95.05");
  EXPECT_EQ(facts.driver_gpus, 1);
  ASSERT_EQ(facts.devices.size(), 3u);
  EXPECT_EQ(facts.devices[0].open_error, 0);
  EXPECT_EQ(facts.devices[1].path, root_.path() + "/dev/nvidia-uvm");
  EXPECT_EQ(facts.devices[1].open_error, ENOENT);
  EXPECT_EQ(facts.devices[2].path, root_.path() + "/dev/nvidia0");
  EXPECT_TRUE(facts.persistence_daemon);
  EXPECT_EQ(facts.kernel_release, "6.1.0");
  EXPECT_TRUE(facts.in_container);
  EXPECT_TRUE(facts.socket_is_mounted);
}

TEST_F(HostFactsTest, FindsEveryGpuAmongManyOtherDevices) {
  Write("/proc/driver/nvidia/version", "NVRM version: x 580.95.05\n");
  for (int i = 0; i < 300; ++i) Write(absl::StrCat("/dev/tty", i), "");
  for (int i = 0; i < 8; ++i) Write(absl::StrCat("/dev/nvidia", i), "");
  for (int i = 0; i < 300; ++i) Write(absl::StrCat("/dev/loop", i), "");
  EXPECT_EQ(Read().devices.size(), 2u + 8u);
}

// As the library has it: NODECOMM_DISABLE in client/communicator/options.h.
TEST_F(HostFactsTest, TakesTheSwitchOfTheFastPathAsTheLibraryDoes) {
  for (const auto& [value, disables] :
       {std::pair{"1", true}, {"yes", true}, {"0", false}, {"", false}}) {
    ASSERT_EQ(setenv("NODECOMM_DISABLE", value, 1), 0);
    EXPECT_EQ(Read().fast_path_disabled_here, disables) << value;
  }
  ASSERT_EQ(unsetenv("NODECOMM_DISABLE"), 0);
  EXPECT_FALSE(Read().fast_path_disabled_here);
}

TEST_F(HostFactsTest, LooksAtTheRuntimeDirectoryAsItIs) {
  std::filesystem::permissions(root_.path(), std::filesystem::perms(0777));
  Write("/session.sock", "");
  std::filesystem::create_directory(root_.path() + "/admin");
  std::filesystem::permissions(root_.path() + "/admin", std::filesystem::perms(0777));
  std::filesystem::permissions(root_.path() + "/session.sock", std::filesystem::perms(0660));
  const HostFacts facts = ReadHostFacts({.runtime_dir = root_.path()});
  EXPECT_EQ(facts.runtime_dir_error, 0);
  EXPECT_EQ(facts.runtime_dir_mode, 0777u);
  EXPECT_EQ(facts.runtime_dir_uid, geteuid());
  ASSERT_TRUE(facts.runtime_dir_room.has_value());
  EXPECT_GT(facts.runtime_dir_room->bytes_total, facts.runtime_dir_room->bytes_free);
  EXPECT_FALSE(facts.lock_file.exists);
  EXPECT_EQ(facts.lock_holder, std::nullopt);
  ASSERT_EQ(facts.worker_sockets.size(), 4u);
  EXPECT_EQ(facts.worker_sockets[0].name, "session.sock");
  EXPECT_TRUE(facts.worker_sockets[0].exists);
  EXPECT_EQ(facts.worker_sockets[0].uid, geteuid());
  EXPECT_EQ(facts.worker_sockets[0].mode, 0660u);
  for (int i = 1; i < 4; ++i) EXPECT_FALSE(facts.worker_sockets[i].exists);
  ASSERT_EQ(facts.socket_directories.size(), 2u);
  EXPECT_EQ(facts.socket_directories[0].name, "admin");
  EXPECT_TRUE(facts.socket_directories[0].exists);
  EXPECT_EQ(facts.socket_directories[0].mode, 0777u);
  EXPECT_FALSE(facts.socket_directories[1].exists);
  ASSERT_EQ(facts.record_directories.size(), 2u);
  EXPECT_EQ(facts.record_directories[0].name, "groups");
  EXPECT_FALSE(facts.record_directories[0].exists);
}

TEST_F(HostFactsTest, FindsControlPagesThatHaveNotTheSizeOfOne) {
  Write("/groups/group-000000000000002a.control", "");
  Write("/groups/group-000000000000002b.control", std::string(4096, '\0'));
  Write("/groups/group-000000000000002a.record", "");
  const HostFacts facts = ReadHostFacts({.runtime_dir = root_.path()});
  ASSERT_EQ(facts.cut_pages.size(), 1u);
  EXPECT_EQ(facts.cut_pages[0].generation, 42u);
  EXPECT_EQ(facts.cut_pages[0].bytes, 0u);
  EXPECT_EQ(facts.cut_pages[0].path, root_.path() + "/groups/group-000000000000002a.control");
}

TEST_F(HostFactsTest, SaysWhyTheRuntimeDirectoryCannotBeEntered) {
  EXPECT_EQ(Read().runtime_dir_error, ENOENT);
  Write("/file", "");
  EXPECT_EQ(ReadHostFacts({.runtime_dir = root_.path() + "/file"}).runtime_dir_error, ENOTDIR);
}

// Root may enter every directory, so this needs another user.
TEST_F(HostFactsTest, SeesADirectoryThatIsClosedToThisUser) {
  constexpr uid_t kNobody = 65534;
  const uid_t user = geteuid();
  if (user == 0) std::filesystem::permissions(root_.path(), std::filesystem::perms(0755));
  const std::string dir = root_.path() + "/closed";
  std::filesystem::create_directories(dir + "/below");
  std::filesystem::permissions(dir, std::filesystem::perms(0));
  ASSERT_EQ(seteuid(user == 0 ? kNobody : user), 0);
  const HostFacts facts = ReadHostFacts({.runtime_dir = dir});
  const HostFacts below = ReadHostFacts({.runtime_dir = dir + "/below"});
  ASSERT_EQ(seteuid(user), 0);
  std::filesystem::permissions(dir, std::filesystem::perms(0700));
  EXPECT_EQ(facts.runtime_dir_error, EACCES);
  EXPECT_TRUE(facts.runtime_dir_uid.has_value());
  EXPECT_TRUE(facts.worker_sockets.empty());
  EXPECT_EQ(below.runtime_dir_error, EACCES);
  EXPECT_FALSE(below.runtime_dir_uid.has_value());
}

TEST(ReadProcess, TellsAsWhomAProcessRunsAndHow) {
  EXPECT_EQ(ReadProcess(getpid()).effective_uid, geteuid());
  EXPECT_FALSE(ReadProcess(getpid()).in_inner_pid_namespace);
  EXPECT_EQ(ReadProcess(getpid()).state, 'R');
  EXPECT_EQ(ReadProcess(0).effective_uid, std::nullopt) << "there is no such process";
}

TEST(ReadProcess, TellsHowManyFilesAProcessHasOpenAndMayOpen) {
  const ProcessFacts before = ReadProcess(getpid());
  const UniqueFd another(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const ProcessFacts facts = ReadProcess(getpid());
  ASSERT_TRUE(before.open_files.has_value() && facts.open_files.has_value());
  EXPECT_EQ(*facts.open_files, *before.open_files + 1);
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(facts.open_files_max, static_cast<int64_t>(limit.rlim_cur));
  EXPECT_EQ(ReadProcess(0).open_files, std::nullopt);
}

TEST(FindLockHolder, NamesWhoHoldsTheLockAndLeavesItAlone) {
  const TemporaryDirectory dir;
  EXPECT_EQ(FindLockHolder(dir.path()), std::nullopt);
  const std::string path = dir.path() + "/nodecommd.lock";
  const UniqueFd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  EXPECT_EQ(FindLockHolder(dir.path()), std::nullopt);
  ASSERT_EQ(flock(lock.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(FindLockHolder(dir.path()), getpid());
  EXPECT_NE(FindLockHolder("/run/nodecomm"), getpid()) << "it serves another directory";
  std::filesystem::remove(path);
  EXPECT_EQ(FindLockHolder(dir.path()), getpid()) << "somebody removed the file";
  std::ofstream(path) << "of nobody";
  EXPECT_EQ(FindLockHolder(dir.path()), getpid());
  ASSERT_EQ(flock(lock.get(), LOCK_UN), 0);
  EXPECT_EQ(FindLockHolder(dir.path()), std::nullopt);
}

TEST(FindDaemonsElsewhere, NamesThoseOfOtherDirectories) {
  const TemporaryDirectory dir;
  const auto finds_us = [](const std::string& runtime_dir) {
    const std::vector<OtherDaemon> found = FindDaemonsElsewhere(runtime_dir);
    return std::any_of(found.begin(), found.end(),
                       [](const OtherDaemon& other) { return other.pid == getpid(); });
  };
  const std::string path = dir.path() + "/nodecommd.lock";
  const UniqueFd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  EXPECT_FALSE(finds_us("/run/nodecomm"));
  ASSERT_EQ(flock(lock.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_TRUE(finds_us("/run/nodecomm"));
  EXPECT_FALSE(finds_us(dir.path()));
}

}  // namespace
}  // namespace nodecomm
