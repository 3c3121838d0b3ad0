#include "daemon/config/config_message.h"

#include <string>

#include "absl/strings/str_format.h"

namespace nodecomm {
namespace {

std::string FormatName(LogFormat format) { return format == LogFormat::kJson ? "json" : "text"; }

std::string Octal(mode_t mode) { return absl::StrFormat("%04o", mode); }

void SetPool(const Config::Pool& pool, v1::PoolConfig& message) {
  message.set_plane_bytes(pool.plane_bytes.value);
  message.set_planes_ready(pool.planes_ready);
  message.set_bytes_per_gpu_max(pool.bytes_per_gpu_max.value);
  message.set_bytes_per_gpu_per_uid_max(pool.bytes_per_gpu_per_uid_max.value);
}

void SetGroup(const Config::Group& group, v1::GroupConfig& message) {
  message.set_rendezvous_timeout_ms(absl::ToInt64Milliseconds(group.rendezvous_timeout));
  message.set_allow_gpu_sharing(group.allow_gpu_sharing);
  message.set_allow_pci(group.allow_pci);
  message.set_disable_fast_path(group.disable_fast_path);
  message.set_drain_timeout_ms(absl::ToInt64Milliseconds(group.drain_timeout));
}

void SetLimits(const Config::Limits& limits, v1::LimitConfig& message) {
  message.set_sessions_max(limits.sessions_max);
  message.set_sessions_per_uid_max(limits.sessions_per_uid_max);
  message.set_control_connections_per_uid_max(limits.control_connections_per_uid_max);
  message.set_groups_max(limits.groups_max);
  message.set_groups_per_uid_max(limits.groups_per_uid_max);
  message.set_connections_per_uid_per_second(limits.connections_per_uid_per_second);
  message.set_calls_per_uid_per_second(limits.calls_per_uid_per_second);
}

void SetPeerAccess(const Config::PeerAccess& peer_access, v1::PeerAccessConfig& message) {
  message.set_trust_driver(peer_access.trust_driver);
  message.set_allow_unproven(peer_access.allow_unproven);
  if (peer_access.proof_bytes.has_value()) {
    message.set_proof_bytes(peer_access.proof_bytes->value);
  }
  message.set_proof_timeout_ms(absl::ToInt64Milliseconds(peer_access.proof_timeout));
}

void SetMetrics(const Config::Metrics& metrics, v1::MetricsConfig& message) {
  message.set_port(metrics.port);
  message.set_textfile(metrics.textfile);
  message.set_textfile_interval_ms(absl::ToInt64Milliseconds(metrics.textfile_interval));
}

}  // namespace

std::string_view LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return "trace";
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "info";
}

v1::DaemonConfig ToMessage(const Config& config) {
  v1::DaemonConfig message;
  message.set_runtime_dir(config.runtime_dir);
  message.set_runtime_dir_mode(Octal(config.runtime_dir_mode));
  message.set_admin_dir_mode(Octal(config.admin_dir_mode));
  message.set_log_level(std::string(LogLevelName(config.log_level)));
  message.set_log_format(FormatName(config.log_format));
  SetPool(config.pool, *message.mutable_pool());
  SetGroup(config.group, *message.mutable_group());
  SetLimits(config.limits, *message.mutable_limits());
  SetPeerAccess(config.peer_access, *message.mutable_peer_access());
  SetMetrics(config.metrics, *message.mutable_metrics());
  for (const auto& [gpu_uuid, users] : config.gpu_users) {
    v1::GpuAccessConfig* entry = message.add_gpu_access();
    entry->set_gpu_uuid(gpu_uuid);
    for (const uid_t uid : users) entry->add_uid(uid);
  }
  return message;
}

}  // namespace nodecomm
