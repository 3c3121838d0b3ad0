#include "daemon/main/daemon.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/base/open_files.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"
#include "daemon/config/config_message.h"
#include "daemon/files/read_only.h"
#include "daemon/main/drained_gpus.h"
#include "daemon/main/link_log.h"
#include "daemon/main/log.h"
#include "daemon/main/readiness.h"
#include "daemon/main/service_manager.h"
#include "daemon/main/signals.h"
#include "daemon/memory/allocator_plane_source.h"
#include "daemon/memory/memfd_plane_source.h"
#include "daemon/process/child_process.h"
#include "daemon/process/open_fds.h"
#include "daemon/proof/program_pair_probe.h"
#include "daemon/session/pid_namespace.h"
#include "daemon/session/user_namespace.h"
#include "daemon/topology/links.h"

namespace nodecomm {
namespace {

// Far more than a turn of a loaded host takes.
constexpr absl::Duration kTurnTimeout = absl::Seconds(1);
constexpr absl::Duration kCallsFinishTimeout = absl::Seconds(2);
// Far more than gRPC takes after that, and less than a service manager waits (main.cc).
constexpr absl::Duration kCallsStopTimeout = absl::Seconds(12);

constexpr std::string_view kProbeName = "nodecomm-probe";
constexpr std::string_view kWatcherName = "nodecomm-watcher";
constexpr char kProofCacheName[] = "peer-access.textproto";
constexpr char kDrainedName[] = "drained-gpus";
constexpr ByteCount kProofBytes = 64_MiB;
constexpr ByteCount kProofBytesSimulated = 2_MiB;  // there is no hardware to find wanting

FastPathPolicy PolicyOf(const Config& config) {
  return {.allow_pci = config.group.allow_pci,
          .allow_gpu_sharing = config.group.allow_gpu_sharing,
          .trust_driver = config.peer_access.trust_driver,
          .allow_unproven = config.peer_access.allow_unproven,
          .disabled = config.group.disable_fast_path};
}

GroupRegistry::Limits GroupLimitsOf(const Config& config) {
  return {.rendezvous_timeout_default = config.group.rendezvous_timeout,
          .groups_max = config.limits.groups_max,
          .groups_per_uid_max = config.limits.groups_per_uid_max,
          .bytes_per_gpu_per_uid_max = config.pool.bytes_per_gpu_per_uid_max};
}

bool FabricIsReady(const v1::Host& host) {
  return std::none_of(host.gpus().begin(), host.gpus().end(), WaitsForFabric);
}

// Such an entry keeps nobody out: the GPU that it means is for everybody.
void WarnOfAccessToAbsentGpus(const v1::Host& host, const GpuUsers& users) {
  for (const auto& entry : users) {
    const std::string& uuid = entry.first;
    const bool is_there = std::any_of(host.gpus().begin(), host.gpus().end(),
                                      [&](const v1::Gpu& gpu) { return gpu.uuid() == uuid; });
    if (is_there) continue;
    Log(spdlog::level::warn, {.gpu = uuid},
        "gpu_access names {}, which is no GPU of this host: it reserves nothing", Escaped(uuid));
  }
}

// As `status` has it.
std::string WhyLost(const v1::Host& host, const std::string& uuid) {
  for (const v1::Gpu& gpu : host.gpus()) {
    if (gpu.uuid() == uuid && !gpu.condition_reason().empty()) return gpu.condition_reason();
  }
  return "the driver reports it as lost";
}

// GPUs that were lost and are not any more.
void LogReturned(const v1::Host& before, const v1::Host& now) {
  std::set<std::string> lost;
  for (const v1::Gpu& gpu : before.gpus()) {
    if (gpu.condition() == v1::GPU_CONDITION_LOST) lost.insert(gpu.uuid());
  }
  for (const v1::Gpu& gpu : now.gpus()) {
    if (gpu.condition() == v1::GPU_CONDITION_LOST || !lost.contains(gpu.uuid())) continue;
    Log(spdlog::level::info, {.gpu = gpu.uuid()}, "GPU back: the driver lists it again");
  }
}

void LogRefill(const std::string& gpu_uuid, const absl::Status& refilled) {
  if (refilled.ok()) {
    Log(spdlog::level::info, {.gpu = gpu_uuid}, "pool: planes can be made again");
  } else {
    Log(spdlog::level::warn, {.gpu = gpu_uuid},
        "pool: no plane can be made ({}); it is tried again, every minute at last",
        Escaped(refilled));
  }
}

void WarnOfHiddenProcesses() {
  if (SeesProcessesOfTheHost()) return;
  spdlog::warn(
      "the daemon is in a PID namespace of its own: workers outside of it are process 0 in errors, "
      "log and nodecommctl, and if it is killed their groups end; with the host's process ids "
      "(hostPID) neither is so");
}

void WarnOfWritablePages(const std::string& groups_dir) {
  if (IsReadOnlyForStrangers(groups_dir)) return;
  spdlog::warn(
      "workers that get past files' modes (root, in most containers) can write the control page of "
      "their own group: the daemon can make no mount, and {} is no read-only mount of {}",
      ReadOnlyViewOf(groups_dir), groups_dir);
}

void WarnOfUnmappedUsers() {
  if (TellsUsersApart()) return;
  spdlog::warn(
      "the daemon is in a user namespace of its own: it refuses workers of users that have no "
      "number there (/proc/{}/uid_map); run it outside of it, or map them",
      getpid());
}

void WarnOfFewDescriptors(int fds_max, int sessions_max) {
  const int64_t wanted = OpenFilesForSessions(sessions_max);
  if (fds_max >= wanted) return;
  spdlog::warn(
      "the daemon may open {} files, too few for {} sessions (limits.sessions_max): workers are "
      "refused when they hold three quarters of them; set LimitNOFILE={}",
      fds_max, sessions_max, wanted);
}

void LogProof(const v1::PeerProof& proof) {
  const LogFields fields = {.gpu = proof.from_uuid()};
  if (proof.verdict() == v1::PROOF_VERDICT_PROVEN) {
    Log(spdlog::level::debug, fields, "peer access to {} is proven, {:.0f} GB/s",
        Escaped(proof.to_uuid()), proof.write_gigabytes_per_second());
  } else if (proof.verdict() == v1::PROOF_VERDICT_FAILED) {
    Log(spdlog::level::err, fields, "peer access to {} is BROKEN: {}", Escaped(proof.to_uuid()),
        Escaped(proof.reason()));
  } else {
    Log(spdlog::level::warn, fields, "peer access to {} could not be proven: {}",
        Escaped(proof.to_uuid()), Escaped(proof.reason()));
  }
}

LogFields FieldsOf(const Caller& caller) {
  return {.session = caller.session, .uid = caller.uid, .pid = caller.pid};
}

void LogLost(const LostSession& lost) {
  if (lost.end == SessionEnd::kProcessEnded) {
    Log(spdlog::level::info, FieldsOf(lost.caller), "session ended ({}): {}", Word(lost.end),
        Escaped(lost.cause));
    return;
  }
  // What is not known of the worker is not told.
  LogFields fields;
  if (lost.caller.session.value != 0) fields.session = lost.caller.session;
  if (lost.caller.pid != 0) fields = FieldsOf(lost.caller);
  Log(spdlog::level::warn, fields, "session not taken over: {}; its groups are aborted",
      Escaped(lost.cause));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(Options options) {
  std::unique_ptr<Daemon> daemon(new Daemon(std::move(options.config)));
  daemon->config_path_ = std::move(options.config_path);
  ABSL_RETURN_IF_ERROR(daemon->TakeRuntimeDir());
  ABSL_RETURN_IF_ERROR(daemon->ReadHost(options.simulate_path));
  ABSL_RETURN_IF_ERROR(daemon->ReadDrained());
  ABSL_RETURN_IF_ERROR(daemon->MakePools());
  ABSL_RETURN_IF_ERROR(daemon->StartProofs());
  ABSL_RETURN_IF_ERROR(daemon->MakeSessions(std::move(options.kept)));
  ABSL_RETURN_IF_ERROR(daemon->MakeGroups());
  ABSL_RETURN_IF_ERROR(daemon->MakeGpuService());
  ABSL_RETURN_IF_ERROR(daemon->MakeCalls());
  ABSL_RETURN_IF_ERROR(daemon->PublishMetrics());
  daemon->Serve();
  return daemon;
}

Daemon::~Daemon() { Stop(); }

void Daemon::Stop() {
  // No new work, then the end of the old: workers first, whose groups hear of it, then the calls
  // that still wait.
  published_metrics_.reset();
  if (sessions_ != nullptr) sessions_->Stop();
  // One that failed to start leaves the workers of a daemon that was killed to the next.
  if (runtime_dir_ != nullptr &&
      (serves_ || runtime_dir_->predecessor() == Predecessor::kEndedInOrder)) {
    runtime_dir_->EndInOrder();
  }
  StopCalls();
  gpus_.reset();
  logged_groups_.reset();
  groups_.reset();
  sessions_.reset();
  prover_.reset();
  probe_.reset();
  pool_.reset();
  source_.reset();
  admission_.reset();
  host_.reset();
  inventory_.reset();
  runtime_dir_.reset();
}

void Daemon::StopCalls() {
  if (calls_ == nullptr) return;
  // A call that gRPC lost for want of a thread is waited for without end.
  const ExitAlarm alarm(
      kCallsStopTimeout,
      absl::StrFormat("nodecommd, pid %d, ends before all is done: gRPC's servers (control.sock, "
                      "admin.sock) did not stop within %s. Either a call hangs or threads were "
                      "short: raise TasksMax= of the unit, pids.max of the container or ulimit -u",
                      getpid(), absl::FormatDuration(kCallsStopTimeout)));
  calls_->Shutdown(SteadyNow() + kCallsFinishTimeout);
  calls_.reset();
}

absl::Status Daemon::TakeRuntimeDir() {
  ABSL_ASSIGN_OR_RETURN(runtime_dir_, RuntimeDir::Create({.path = config_.runtime_dir,
                                                          .mode = config_.runtime_dir_mode,
                                                          .admin_mode = config_.admin_dir_mode}));
  return absl::OkStatus();
}

absl::Status Daemon::ReadHost(const std::string& simulate_path) {
  if (simulate_path.empty()) {
    platform_ = v1::PLATFORM_CUDA;
    ABSL_ASSIGN_OR_RETURN(inventory_, CreateNvmlInventory());
  } else {
    platform_ = v1::PLATFORM_SIMULATED;
    ABSL_ASSIGN_OR_RETURN(inventory_, CreateFileInventory(simulate_path));
  }
  ABSL_ASSIGN_OR_RETURN(v1::Host host, inventory_->Read());
  host_ = std::make_unique<HostState>(std::move(host));
  admission_ = std::make_unique<Admission>(host_.get(), PolicyOf(config_), config_.gpu_users);
  LogHost();
  WarnOfAccessToAbsentGpus(host_->host(), config_.gpu_users);
  return absl::OkStatus();
}

std::string Daemon::WaitsFor() const {
  return nodecomm::WaitsFor(host_->host(),
                            {.progress = prover_->Progress(),
                             .pairs_lacking = prover_->Lacking(),
                             .lacks_thread = prover_->LacksThread()},
                            pool_->List());
}

std::string Daemon::NotReady() const {
  if (stopping_) return "stopping: no group is formed any more, those that are there may finish";
  if (const std::string problem = runtime_dir_problem(); !problem.empty()) {
    return absl::StrCat(problem, ": restart the daemon");
  }
  if (ready_) return Lacks();
  std::string not_ready = write_problem();
  if (const std::string waits_for = WaitsFor(); !waits_for.empty()) {
    absl::StrAppend(&not_ready, not_ready.empty() ? "" : "; ", "waiting for ", waits_for);
  }
  return not_ready;
}

std::string Daemon::Lacks() const {
  std::vector<std::string> lacks = {write_problem(), LacksFds(CountOpenFds(), OpenFdsMax()),
                                    prover_->LacksThread() ? kLacksThread : "", host_problem(),
                                    nodecomm::Lacks(host_->host())};
  lacks.erase(std::remove(lacks.begin(), lacks.end(), ""), lacks.end());
  return absl::StrJoin(lacks, "; ");
}

void Daemon::RetryProofs() {
  // Where the driver is trusted, an administrator may still have asked for proofs.
  if (!config_.peer_access.trust_driver || prover_->LacksThread()) prover_->RetryLacking();
}

int Daemon::Gpus() const { return host_->host().gpus_size(); }

int Daemon::GpusInService() const {
  const v1::Host host = host_->host();
  return static_cast<int>(std::count_if(
      host.gpus().begin(), host.gpus().end(),
      [](const v1::Gpu& gpu) { return gpu.condition() == v1::GPU_CONDITION_UNSPECIFIED; }));
}

bool Daemon::IsAlive() const {
  // A registry that hangs holds its lock, and then this thread hangs too and says nothing.
  logged_groups_->List();
  return sessions_->TakesTurns(kTurnTimeout);
}

ConfigChanges Daemon::Reload(const Config& fresh) {
  ConfigChanges changes = CompareConfigs(config(), fresh);
  SetLogLevel(changes.config.log_level);
  admission_->SetRules(PolicyOf(changes.config), changes.config.gpu_users);
  WarnOfAccessToAbsentGpus(host_->host(), changes.config.gpu_users);
  logged_groups_->SetLimits(GroupLimitsOf(changes.config));
  absl::MutexLock lock(&in_force_mu_);
  in_force_ = changes.config;
  waiting_ = changes.waiting;
  reload_problem_.clear();
  return changes;
}

void Daemon::ReloadFailed(std::string problem) {
  absl::MutexLock lock(&in_force_mu_);
  reload_problem_ = std::move(problem);
}

absl::Status Daemon::RefreshHost() {
  // Whoever asks for the progress of the proofs asks often, and a reading keeps the driver busy.
  if (prover_->Progress().running()) return absl::OkStatus();
  absl::Status read;
  gpus_->ReadUnlessDrained([&] { read = ReadHostAnew(); });
  return read;
}

absl::Status Daemon::ReadHostAnew() {
  absl::StatusOr<v1::Host> fresh = inventory_->Read();
  const std::string problem = TakeHostNews(fresh.status());
  if (!fresh.ok()) return absl::FailedPreconditionError(problem);
  const v1::Host before = host_->host();
  for (const std::string& uuid : host_->Update(*std::move(fresh))) {
    logged_groups_->GpuLost(uuid, WhyLost(host_->host(), uuid));
  }
  LogReturned(before, host_->host());
  LogLinkChanges(before, host_->host());
  if (!FabricIsReady(before) && FabricIsReady(host_->host()) && !config_.peer_access.trust_driver) {
    spdlog::info("the NVLink fabric is ready: peer access is proven now");
    prover_->Start(PeerProver::Which::kMissing).IgnoreError();  // which warns
  }
  return absl::OkStatus();
}

std::string Daemon::TakeHostNews(const absl::Status& read) {
  std::string problem;
  if (!read.ok()) {
    problem = absl::StrCat("the host cannot be read: ", std::string(read.message()),
                           platform_ == v1::PLATFORM_SIMULATED ? "; mend that file" : "");
  }
  {
    absl::MutexLock lock(&in_force_mu_);
    if (problem == host_problem_) return problem;
    host_problem_ = problem;
  }
  if (problem.empty()) {
    spdlog::info("the host can be read again");
  } else {
    spdlog::warn("{}; what was read before stays in force", Escaped(problem));
  }
  return problem;
}

absl::Status Daemon::MakeGpuService() {
  gpus_ = std::make_unique<GpuService>(
      GpuService::Parts{.host = host_.get(),
                        .groups = logged_groups_.get(),
                        .pool = pool_.get(),
                        .source = source_.get(),
                        .prover = prover_.get()},
      [this](GpuService::WatcherNews news) { return StartWatcher(std::move(news)); },
      [this] { ReadHostAnew().IgnoreError(); },
      absl::StrCat(runtime_dir_->path(), "/", kDrainedName), drained_at_start_);
  return gpus_->Start();
}

absl::StatusOr<std::unique_ptr<GpuWatcher>> Daemon::StartWatcher(GpuService::WatcherNews news) {
  if (platform_ == v1::PLATFORM_SIMULATED) return nullptr;
  GpuWatcher::Options options;
  ABSL_ASSIGN_OR_RETURN(options.program, ProgramBesideThisOne(kWatcherName));
  options.on_xid = [this](const XidEvent& event) { TakeXid(event); };
  options.news = std::move(news);
  return GpuWatcher::Start(std::move(options));
}

void Daemon::StopForming() {
  stopping_ = true;
  ready_ = false;
  if (calls_ != nullptr) TellHealth();
  if (logged_groups_ != nullptr) {
    logged_groups_->StopForming("the daemon is stopping: try again when it is back");
  }
}

bool Daemon::HasGroups() const {
  if (logged_groups_ == nullptr) return false;
  for (const v1::GroupInfo& group : logged_groups_->List()) {
    if (group.state() != v1::GROUP_STATE_ABORTED) return true;
  }
  return false;
}

void Daemon::AbortGroups() { logged_groups_->AbortAll("the daemon is stopping"); }

void Daemon::TakeXid(const XidEvent& event) {
  metrics_->Take(XidSeen{.gpu_uuid = event.gpu_uuid, .code = event.code});
  if (!IsFatal(event.code)) {
    Log(spdlog::level::warn, {.gpu = event.gpu_uuid}, "Xid {}", event.code);
    return;
  }
  const std::string reason = absl::StrCat("Xid ", event.code, ": reset the GPU or the host");
  host_->SetCondition(event.gpu_uuid, v1::GPU_CONDITION_LOST, reason);
  logged_groups_->GpuLost(event.gpu_uuid, reason);
}

absl::Status Daemon::ReadDrained() {
  ABSL_ASSIGN_OR_RETURN(drained_at_start_,
                        ReadDrainedGpus(absl::StrCat(runtime_dir_->path(), "/", kDrainedName)));
  for (const std::string& uuid : drained_at_start_) {
    host_->SetCondition(uuid, v1::GPU_CONDITION_DRAINING, kDrainReason);
  }
  return absl::OkStatus();
}

absl::Status Daemon::MakePools() {
  if (platform_ == v1::PLATFORM_SIMULATED) {
    source_ = std::make_unique<MemfdPlaneSource>(host_->host());
  } else {
    ABSL_ASSIGN_OR_RETURN(source_, AllocatorPlaneSource::Open({}));
  }
  PlanePool::Options options;
  const v1::Host host = host_->host();
  source_->ServeOnly(GpuService::Served(host, drained_at_start_));
  options.closed = drained_at_start_;
  for (const v1::Gpu& gpu : host.gpus()) options.gpu_uuids.push_back(gpu.uuid());
  options.plane_bytes = config_.pool.plane_bytes;
  options.planes_ready = config_.pool.planes_ready;
  options.bytes_per_gpu_max = config_.pool.bytes_per_gpu_max;
  options.refill_news = LogRefill;
  ABSL_ASSIGN_OR_RETURN(pool_, PlanePool::Create(std::move(options), source_.get()));
  return absl::OkStatus();
}

absl::Status Daemon::StartProofs() {
  ProgramPairProbe::Options probe;
  ABSL_ASSIGN_OR_RETURN(probe.program, ProgramBesideThisOne(kProbeName));
  probe.platform = platform_;
  probe.bytes = proof_bytes();
  probe.timeout = config_.peer_access.proof_timeout;
  probe_ = std::make_unique<ProgramPairProbe>(std::move(probe), source_.get());
  PeerProver::Options options;
  options.cache_path = absl::StrCat(runtime_dir_->path(), "/", kProofCacheName);
  options.warn = [](std::string_view warning) { spdlog::warn("{}", Escaped(warning)); };
  options.begins = [limit = config_.peer_access.proof_timeout + kAnswerGrace](int pairs,
                                                                              int rounds) {
    spdlog::info("proving peer access of {} pairs of GPUs: {} rounds, {} each at most", pairs,
                 rounds, absl::FormatDuration(limit));
  };
  options.proven = LogProof;
  prover_ = std::make_unique<PeerProver>(std::move(options), host_.get(), probe_.get());
  if (config_.peer_access.trust_driver) {
    spdlog::warn("the driver is trusted: peer access is not proven (peer_access.trust_driver)");
  } else {
    prover_->Start(PeerProver::Which::kMissing).IgnoreError();  // which warns
  }
  return absl::OkStatus();
}

ByteCount Daemon::proof_bytes() const {
  const bool simulated = platform_ == v1::PLATFORM_SIMULATED;
  return config_.peer_access.proof_bytes.value_or(simulated ? kProofBytesSimulated : kProofBytes);
}

v1::GetConfigResponse Daemon::ConfigInForce() const {
  v1::GetConfigResponse answer;
  *answer.mutable_config() = ToMessage(config());
  answer.mutable_config()->mutable_peer_access()->set_proof_bytes(proof_bytes().value);
  answer.set_config_path(config_path_);
  absl::MutexLock lock(&in_force_mu_);
  for (const ConfigChange& change : waiting_) {
    v1::WaitingSetting* const waiting = answer.add_waiting();
    waiting->set_field(change.field);
    waiting->set_in_force(change.before);
    waiting->set_in_file(change.after);
  }
  return answer;
}

absl::Status Daemon::MakeSessions(RuntimeDir::Listeners kept) {
  ABSL_ASSIGN_OR_RETURN(RuntimeDir::Listeners listeners, runtime_dir_->Listen(std::move(kept)));
  KeepListeners(listeners);
  SessionServer::Options options;
  options.session_listener = std::move(listeners.session);
  options.control_listener = std::move(listeners.control);
  options.admin_listener = std::move(listeners.admin);
  options.platform = platform_;
  options.rendezvous_timeout = [this] { return config().group.rendezvous_timeout; };
  options.records_dir = runtime_dir_->sessions_path();
  options.predecessor = runtime_dir_->predecessor();
  options.descriptors_max = static_cast<size_t>(OpenFdsMax());
  WarnOfHiddenProcesses();
  WarnOfUnmappedUsers();
  WarnOfWritablePages(runtime_dir_->groups_path());
  WarnOfFewDescriptors(OpenFdsMax(), config_.limits.sessions_max);
  options.sessions_max = config_.limits.sessions_max;
  options.sessions_per_uid_max = config_.limits.sessions_per_uid_max;
  options.connections_per_uid_per_second = config_.limits.connections_per_uid_per_second;
  options.control_connections_per_uid_max = config_.limits.control_connections_per_uid_max;
  ABSL_ASSIGN_OR_RETURN(sessions_, SessionServer::Create(std::move(options)));
  for (const LostSession& lost : sessions_->LostSessions()) LogLost(lost);
  return absl::OkStatus();
}

absl::Status Daemon::MakeGroups() {
  GroupRegistry::Options options;
  options.groups_dir = runtime_dir_->groups_path();
  options.forming = GroupRegistry::Options::Forming::kLater;
  options.sessions = sessions_->Sessions();
  for (const LostSession& lost : sessions_->LostSessions()) {
    options.lost_sessions.emplace(lost.caller.session, lost.cause);
  }
  options.plane_bytes_default = config_.pool.plane_bytes;
  options.limits = GroupLimitsOf(config_);
  options.observer = [this](const GroupNews& news) { TakeGroupNews(news); };
  options.damaged = [](const GroupDamage& damage) {
    LogFields fields = {.group_name = damage.name, .uid = damage.uid};
    if (damage.generation != 0) fields.group = damage.generation;
    Log(spdlog::level::warn, fields, "{}", Escaped(damage.what));
  };
  ABSL_ASSIGN_OR_RETURN(groups_,
                        GroupRegistry::Create(std::move(options), {.admission = admission_.get(),
                                                                   .pool = pool_.get(),
                                                                   .courier = sessions_.get()}));
  logged_groups_ = std::make_unique<LoggedGroups>(groups_.get());
  LogTakenOver();
  return absl::OkStatus();
}

absl::Status Daemon::MakeCalls() {
  DaemonView view;
  view.groups = logged_groups_.get();
  view.pool = pool_.get();
  view.inventory = inventory_.get();
  view.sessions = sessions_.get();
  view.host = host_.get();
  view.admission = admission_.get();
  view.prover = prover_.get();
  view.calls_per_uid_per_second = config_.limits.calls_per_uid_per_second;
  view.driver_trusted = config_.peer_access.trust_driver;
  view.gpus = gpus_.get();
  view.refresh_host = [this] { return RefreshHost(); };
  view.config = [this] { return ConfigInForce(); };
  view.not_ready = [this] { return NotReady(); };
  view.runtime_dir_problem = [this] { return runtime_dir_problem(); };
  view.write_problem = [this] { return write_problem(); };
  view.reload_problem = [this] { return reload_problem(); };
  view.metrics_problem = [this] { return metrics_problem(); };
  view.log_problem = LogProblem;
  view.platform = platform_;
  view.start_time = SteadyNow();
  view.call_ended = [this](const CallEnded& ended) { metrics_->Take(ended); };
  view.auth_failed = [this](AuthFailure failure, const PeerCredentials& peer) {
    TakeAuthFailure(failure, peer);
  };
  view.cut_off = [this](uid_t uid) { sessions_->CutOff(uid); };
  ABSL_ASSIGN_OR_RETURN(calls_, RpcServer::Create(std::move(view)));
  return absl::OkStatus();
}

void Daemon::Serve() {
  SessionServer::Events events;
  events.session_opened = [this](const Caller& caller) {
    metrics_->Take(SessionOpened());
    if (const std::optional<int> left_out = user_lines_.Take(caller.uid, SteadyNow())) {
      Log(spdlog::level::info, FieldsOf(caller), "session opened{}", LeftOut(*left_out));
    }
  };
  events.session_died = [this](SessionId session, std::string_view cause) {
    logged_groups_->SessionDied(session, cause);
  };
  events.session_ended = [this](const Caller& caller, SessionEnd end, std::string_view cause) {
    if (const std::optional<int> left_out = user_lines_.Take(caller.uid, SteadyNow())) {
      Log(spdlog::level::info, FieldsOf(caller), "session ended ({}): {}{}", Word(end),
          Escaped(cause), LeftOut(*left_out));
    }
    metrics_->Take(SessionEnded{end});
    groups_->SessionEnded(caller.session, cause);
  };
  events.refused = [this](const Refusal& refusal) { TakeRefusal(refusal); };
  events.control_connected = [this](UniqueFd fd, const PeerCredentials& peer) {
    calls_->AdoptControl(std::move(fd), peer);
  };
  // Also while proofs go on: who asks is told what is waited for (NotReady).
  events.admin_connected = [this](UniqueFd fd) { calls_->AdoptAdmin(std::move(fd)); };
  sessions_->Start(std::move(events));
  serves_ = true;
}

void Daemon::StartForming() { logged_groups_->StartForming(); }

absl::Status Daemon::PublishMetrics() {
  ABSL_ASSIGN_OR_RETURN(
      published_metrics_,
      PublishedMetrics::Start(
          config_, platform_,
          {.metrics = metrics_.get(),
           .host = host_.get(),
           .groups = groups_.get(),
           .pool = pool_.get(),
           .sessions = sessions_.get(),
           .ready = [this] { return IsReady(); },
           .runtime_dir_lost = [this] { return !runtime_dir_problem().empty(); },
           .runtime_dir_writable = [this] { return write_problem().empty(); },
           .groups_max = [this] { return config().limits.groups_max; },
           .reload_failed = [this] { return !reload_problem().empty(); },
           .watches_errors = [this] { return gpus_->WhyErrorsAreNotWatched().empty(); }},
          [this](const absl::Status& written) { TakeTextfileNews(written); }));
  return absl::OkStatus();
}

void Daemon::TakeTextfileNews(const absl::Status& written) {
  if (written.ok()) {
    spdlog::info("the metrics can be written again");
  } else if (absl::IsAlreadyExists(written)) {
    spdlog::warn("{}", Escaped(written));
  } else {
    spdlog::warn("{}; it is tried again at every interval", Escaped(written));
  }
  absl::MutexLock lock(&in_force_mu_);
  metrics_problem_ = std::string(written.message());
}

void Daemon::SetReady() {
  if (!ready_.exchange(true)) spdlog::info("ready: nothing is waited for");
  TellHealth();
}

void Daemon::TellHealth() {
  // A host of which something is missing serves what is left of it; a directory that cannot be
  // written in takes no worker, or forms no group.
  const bool healthy = ready_ && runtime_dir_problem().empty() && write_problem().empty() &&
                       HasUsableGpu(host_->host());
  if (healthy == healthy_) return;
  healthy_ = healthy;
  calls_->SetServing(healthy ? RpcServer::Serving::kYes : RpcServer::Serving::kNo);
}

std::string Daemon::CheckRuntimeDir() {
  std::string problem = runtime_dir_->Lost();
  // What is not the daemon's any more is not for it to write in.
  std::string write_problem = problem.empty() ? runtime_dir_->WhyNotWritten() : "";
  {
    absl::MutexLock lock(&in_force_mu_);
    runtime_dir_problem_ = problem;
    write_problem_ = std::move(write_problem);
  }
  if (problem.empty()) groups_->LookAfterFiles();
  TellHealth();
  return problem;
}

bool Daemon::IsReady() const { return ready_ && runtime_dir_problem().empty() && Lacks().empty(); }

void Daemon::TakeGroupNews(const GroupNews& news) {
  metrics_->Take(news);
  const LogFields fields = {.group = news.generation, .group_name = news.name, .uid = news.uid};
  const int64_t age_ms = absl::ToInt64Milliseconds(news.age);
  // Ranks that disagree may try again for ever.
  const bool fails = news.what != GroupNews::What::kReady && news.end != GroupEnd::kLeft &&
                     news.phase != GroupPhase::kReady;
  const std::optional<int> left_out =
      fails ? failed_groups_logged_.Take(SteadyNow()) : user_lines_.Take(news.uid, SteadyNow());
  if (!left_out.has_value()) return;
  if (news.what == GroupNews::What::kReady) {
    Log(spdlog::level::info, fields, "group ready: {} ranks, {} ms after the first join{}",
        news.world_size, age_ms, LeftOut(*left_out));
  } else if (news.end == GroupEnd::kLeft) {
    Log(spdlog::level::info, fields, "group ended: all ranks have left{}", LeftOut(*left_out));
  } else {
    Log(spdlog::level::warn, fields, "group ended while {} ({}): {}{}", Word(news.phase),
        Word(news.end), Escaped(news.reason), LeftOut(*left_out));
  }
}

void Daemon::TakeRefusal(const Refusal& refusal) {
  metrics_->Take(refusal);
  // Each of a group's workers is named.
  LogLimit& limit =
      refusal.cause == RefusalCause::kNoRecord ? no_records_logged_ : refusals_logged_;
  if (const std::optional<int> left_out = limit.Take(SteadyNow())) {
    Log(spdlog::level::warn, {.uid = refusal.uid, .pid = refusal.pid},
        "connection on {}.sock refused ({}): {}{}", Word(refusal.door), Word(refusal.cause),
        Escaped(refusal.reason), LeftOut(*left_out));
  }
}

void Daemon::TakeAuthFailure(AuthFailure failure, const PeerCredentials& peer) {
  metrics_->Take(failure);
  if (const std::optional<int> left_out = auth_failures_logged_.Take(SteadyNow())) {
    Log(spdlog::level::warn, {.uid = peer.uid, .pid = peer.pid}, "call without a good token ({}){}",
        Word(failure), LeftOut(*left_out));
  }
}

bool Daemon::WaitUntilProven(absl::Duration timeout) {
  if (!prover_->WaitUntilDone(timeout)) return false;
  const v1::PeerCheckProgress progress = prover_->Progress();
  if (progress.pairs_done() > 0) {
    spdlog::info("peer access: {} pairs tried in {} ms", progress.pairs_done(),
                 progress.elapsed_ms());
  }
  return true;
}

bool Daemon::WaitUntilPoolsFilled(absl::Duration timeout) {
  if (!pool_->WaitUntilFilled(timeout)) return false;
  LogPools();
  return true;
}

void Daemon::LogHost() const {
  const v1::Host host = host_->host();
  spdlog::info("host {}: {} GPUs, as told by {}{}", Escaped(host.hostname()), host.gpus_size(),
               inventory_->Source(), platform_ == v1::PLATFORM_SIMULATED ? " (simulated)" : "");
  for (const v1::Gpu& gpu : host.gpus()) {
    Log(spdlog::level::info, {.gpu = gpu.uuid()}, "{} at {}", Escaped(gpu.name()),
        Escaped(gpu.pci_bus_id()));
    if (gpu.condition() != v1::GPU_CONDITION_LOST) continue;
    Log(spdlog::level::err, {.gpu = gpu.uuid()},
        "GPU lost before the daemon's start: {}; reset it or the host, then nodecommctl undrain "
        "takes it back",
        Escaped(gpu.condition_reason()));
  }
  if (host.gpus().empty()) spdlog::warn("the host has no GPU: no group can be formed");
}

void Daemon::LogTakenOver() const {
  for (const v1::GroupInfo& group : groups_->List()) {
    if (group.state() != v1::GROUP_STATE_READY) continue;
    Log(spdlog::level::info,
        {.group = group.generation(), .group_name = group.name(), .uid = group.uid()},
        "group of an earlier daemon goes on: {} ranks, whose sessions are expected back",
        group.world_size());
  }
}

void Daemon::LogPools() const {
  for (const v1::PoolInfo& pool : pool_->List()) {
    if (pool.last_error().empty()) {
      Log(spdlog::level::info, {.gpu = pool.gpu_uuid()}, "pool: {} planes of {} bytes ready",
          pool.planes_ready(), pool.plane_bytes());
    } else {
      Log(spdlog::level::err, {.gpu = pool.gpu_uuid()}, "pool: {} of {} planes ready: {}",
          pool.planes_ready(), pool.planes_ready_target(), Escaped(pool.last_error()));
    }
  }
}

}  // namespace nodecomm
