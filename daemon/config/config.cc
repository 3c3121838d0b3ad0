#include "daemon/config/config.h"

#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "client/base/gpu_uuid.h"
#include "client/base/status_macros.h"
#include "client/base/utf8.h"
#include "daemon/config/problem_list.h"
#include "daemon/files/small_file.h"
#include "google/protobuf/text_format.h"
#include "nodecomm/v1/config.pb.h"

namespace nodecomm {
namespace {

// GPU memory that can be exported comes in pieces of this size.
constexpr ByteCount kGranularity = 2_MiB;

constexpr size_t kFileBytesMax = 1 << 20;

// Bounds of what a file may say. They catch slips of the pen; a value inside them may still be
// unwise.
constexpr int kPlanesReadyMax = 256;
constexpr int64_t kRendezvousTimeoutMsMax = 24 * 3600 * 1000;
constexpr int kRateMax = 1'000'000;
constexpr int64_t kDrainTimeoutMsMax = 24 * 3600 * 1000;
constexpr int kCountMax = 65536;
constexpr ByteCount kProofBytesMax = 1024_MiB;
constexpr int64_t kProofTimeoutMsMin = 100;
constexpr int64_t kProofTimeoutMsMax = 600 * 1000;
constexpr int kPortMax = 65535;
// Of the sockets' paths, the longest; as RuntimeDir has it.
constexpr size_t kSocketPathBytesMax = sizeof(sockaddr_un::sun_path) - 1;
constexpr size_t kRuntimeDirBytesMax =
    kSocketPathBytesMax - std::string_view("/admin/admin.sock").size();
constexpr int64_t kTextfileIntervalMsMin = 1000;
constexpr int64_t kTextfileIntervalMsMax = 3600 * 1000;

void ReadInt(ProblemList& problems, std::string_view field, int64_t value, int64_t min, int64_t max,
             int& setting) {
  if (value < min || value > max) {
    problems.Add(field, absl::StrFormat("%d is outside %d to %d", value, min, max));
    return;
  }
  setting = static_cast<int>(value);
}

void ReadPlaneBytes(ProblemList& problems, std::string_view field, uint64_t value,
                    ByteCount& setting) {
  if (value == 0) {
    problems.Add(field, "must be more than 0");
    return;
  }
  if (value % kGranularity.value != 0) {
    problems.Add(field,
                 absl::StrFormat("%d is not a multiple of %d (2 MiB)", value, kGranularity.value));
    return;
  }
  setting = ByteCount{value};
}

void ReadDirMode(ProblemList& problems, std::string_view field, const std::string& value,
                 mode_t& setting) {
  const bool octal = value.size() >= 3 && value.size() <= 4 &&
                     value.find_first_not_of("01234567") == std::string::npos;
  mode_t mode = 0;
  std::from_chars(value.data(), value.data() + value.size(), mode, 8);
  if (!octal || mode > 0777) {
    problems.Add(field, absl::StrFormat("\"%s\" is not an octal mode such as \"0755\"", value));
  } else if ((mode & 0700) != 0700) {
    problems.Add(field, absl::StrFormat("\"%s\" keeps the daemon out of its own directory; the "
                                        "first digit must be 7, as in \"0755\"",
                                        value));
  } else if ((mode & 0022) != 0) {
    problems.Add(field, absl::StrFormat("\"%s\" lets others replace the daemon's sockets; group "
                                        "and others must not have write access",
                                        value));
  } else {
    setting = mode;
  }
}

// Why it cannot be a path; empty: it can be. Administrators are told of it in messages, which take
// UTF-8 only, and the kernel reads up to a NUL.
std::string WhyNoPath(const std::string& path) {
  // Otherwise the reason itself would be no text.
  if (!IsUtf8(path)) return absl::StrFormat("\"%s\" is not UTF-8", absl::CEscape(path));
  const std::string escaped = absl::Utf8SafeCEscape(path);
  if (path.empty() || path[0] != '/') {
    return absl::StrFormat("\"%s\" is not an absolute path", escaped);
  }
  if (path.find('\0') != std::string::npos) {
    return absl::StrFormat("\"%s\" has a NUL byte, where the kernel would end it", escaped);
  }
  return "";
}

void ReadTop(const v1::DaemonConfig& file, ProblemList& problems, Config& config) {
  if (file.has_runtime_dir()) {
    if (const std::string why = WhyNoPath(file.runtime_dir()); !why.empty()) {
      problems.Add("runtime_dir", why);
    } else if (file.runtime_dir().size() > kRuntimeDirBytesMax) {
      problems.Add("runtime_dir",
                   absl::StrFormat("\"%s\" has %d characters, of at most %d: the kernel allows %d "
                                   "in the path of a socket",
                                   file.runtime_dir(), file.runtime_dir().size(),
                                   kRuntimeDirBytesMax, kSocketPathBytesMax));
    }
    config.runtime_dir = file.runtime_dir();
  }
  if (file.has_runtime_dir_mode()) {
    ReadDirMode(problems, "runtime_dir_mode", file.runtime_dir_mode(), config.runtime_dir_mode);
  }
  if (file.has_admin_dir_mode()) {
    ReadDirMode(problems, "admin_dir_mode", file.admin_dir_mode(), config.admin_dir_mode);
  }
  if (file.has_log_level()) {
    if (auto level = ParseLogLevel(file.log_level()); level.ok()) {
      config.log_level = *level;
    } else {
      problems.Add("log_level", std::string(level.status().message()));
    }
  }
  if (file.has_log_format()) {
    if (file.log_format() != "text" && file.log_format() != "json") {
      problems.Add("log_format",
                   absl::StrFormat("\"%s\" is neither text nor json", file.log_format()));
    }
    config.log_format = file.log_format() == "json" ? LogFormat::kJson : LogFormat::kText;
  }
}

void ReadPool(const v1::PoolConfig& file, ProblemList& problems, Config::Pool& pool) {
  if (file.has_plane_bytes()) {
    ReadPlaneBytes(problems, "pool.plane_bytes", file.plane_bytes(), pool.plane_bytes);
  }
  if (file.has_planes_ready()) {
    ReadInt(problems, "pool.planes_ready", file.planes_ready(), 0, kPlanesReadyMax,
            pool.planes_ready);
  }
  if (file.has_bytes_per_gpu_max()) {
    ReadPlaneBytes(problems, "pool.bytes_per_gpu_max", file.bytes_per_gpu_max(),
                   pool.bytes_per_gpu_max);
  }
  if (file.has_bytes_per_gpu_per_uid_max()) {
    ReadPlaneBytes(problems, "pool.bytes_per_gpu_per_uid_max", file.bytes_per_gpu_per_uid_max(),
                   pool.bytes_per_gpu_per_uid_max);
  }
  // Divided rather than multiplied: plane_bytes may be anything.
  if (pool.planes_ready > 0 &&
      pool.plane_bytes.value > pool.bytes_per_gpu_max.value / pool.planes_ready) {
    problems.Add(
        "pool.bytes_per_gpu_max",
        absl::StrFormat("%d is less than planes_ready (%d) planes of plane_bytes (%d)",
                        pool.bytes_per_gpu_max.value, pool.planes_ready, pool.plane_bytes.value));
  }
}

void ReadGroup(const v1::GroupConfig& file, ProblemList& problems, Config::Group& group) {
  if (file.has_rendezvous_timeout_ms()) {
    const int64_t ms = file.rendezvous_timeout_ms();
    if (ms < 1 || ms > kRendezvousTimeoutMsMax) {
      problems.Add("group.rendezvous_timeout_ms",
                   absl::StrFormat("%d is outside 1 to %d", ms, kRendezvousTimeoutMsMax));
    }
    group.rendezvous_timeout = absl::Milliseconds(ms);
  }
  if (file.has_drain_timeout_ms()) {
    const int64_t ms = file.drain_timeout_ms();
    if (ms < 0 || ms > kDrainTimeoutMsMax) {
      problems.Add("group.drain_timeout_ms",
                   absl::StrFormat("%d is outside 0 to %d", ms, kDrainTimeoutMsMax));
    }
    group.drain_timeout = absl::Milliseconds(ms);
  }
  group.allow_gpu_sharing = file.allow_gpu_sharing();
  group.allow_pci = file.allow_pci();
  group.disable_fast_path = file.disable_fast_path();
}

void ReadLimits(const v1::LimitConfig& file, ProblemList& problems, Config::Limits& limits) {
  if (file.has_sessions_max()) {
    ReadInt(problems, "limits.sessions_max", file.sessions_max(), 1, kCountMax,
            limits.sessions_max);
  }
  if (file.has_sessions_per_uid_max()) {
    ReadInt(problems, "limits.sessions_per_uid_max", file.sessions_per_uid_max(), 1, kCountMax,
            limits.sessions_per_uid_max);
  }
  if (file.has_control_connections_per_uid_max()) {
    ReadInt(problems, "limits.control_connections_per_uid_max",
            file.control_connections_per_uid_max(), 1, kCountMax,
            limits.control_connections_per_uid_max);
  }
  if (file.has_groups_max()) {
    ReadInt(problems, "limits.groups_max", file.groups_max(), 1, kCountMax, limits.groups_max);
  }
  if (file.has_groups_per_uid_max()) {
    ReadInt(problems, "limits.groups_per_uid_max", file.groups_per_uid_max(), 1, kCountMax,
            limits.groups_per_uid_max);
  }
  if (file.has_connections_per_uid_per_second()) {
    ReadInt(problems, "limits.connections_per_uid_per_second",
            file.connections_per_uid_per_second(), 1, kRateMax,
            limits.connections_per_uid_per_second);
  }
  if (file.has_calls_per_uid_per_second()) {
    ReadInt(problems, "limits.calls_per_uid_per_second", file.calls_per_uid_per_second(), 1,
            kRateMax, limits.calls_per_uid_per_second);
  }
}

void ReadPeerAccess(const v1::PeerAccessConfig& file, ProblemList& problems,
                    Config::PeerAccess& peer_access) {
  peer_access.trust_driver = file.trust_driver();
  peer_access.allow_unproven = file.allow_unproven();
  if (file.has_proof_bytes()) {
    ByteCount bytes;
    ReadPlaneBytes(problems, "peer_access.proof_bytes", file.proof_bytes(), bytes);
    if (bytes > kProofBytesMax) {
      problems.Add("peer_access.proof_bytes", absl::StrFormat("%d is more than %d (1 GiB)",
                                                              bytes.value, kProofBytesMax.value));
    }
    peer_access.proof_bytes = bytes;
  }
  if (file.has_proof_timeout_ms()) {
    int timeout_ms = 0;
    ReadInt(problems, "peer_access.proof_timeout_ms", file.proof_timeout_ms(), kProofTimeoutMsMin,
            kProofTimeoutMsMax, timeout_ms);
    peer_access.proof_timeout = absl::Milliseconds(timeout_ms);
  }
}

void ReadMetrics(const v1::MetricsConfig& file, ProblemList& problems, Config::Metrics& metrics) {
  if (file.has_port()) {
    ReadInt(problems, "metrics.port", file.port(), 0, kPortMax, metrics.port);
  }
  if (file.has_textfile()) {
    const std::string& path = file.textfile();
    const std::string why = path.empty() ? "" : WhyNoPath(path);
    if (!why.empty()) {
      problems.Add("metrics.textfile", why);
    } else if (!path.empty() && !path.ends_with(".prom")) {
      problems.Add("metrics.textfile", absl::StrFormat("\"%s\" does not end in .prom, and "
                                                       "node_exporter reads no other names",
                                                       path));
    }
    metrics.textfile = path;
  }
  if (file.has_textfile_interval_ms()) {
    int interval_ms = 0;
    ReadInt(problems, "metrics.textfile_interval_ms", file.textfile_interval_ms(),
            kTextfileIntervalMsMin, kTextfileIntervalMsMax, interval_ms);
    metrics.textfile_interval = absl::Milliseconds(interval_ms);
  }
}

void ReadGpuAccess(const v1::DaemonConfig& file, ProblemList& problems, Config& config) {
  for (int i = 0; i < file.gpu_access_size(); ++i) {
    const v1::GpuAccessConfig& entry = file.gpu_access(i);
    if (entry.gpu_uuid().empty()) {
      problems.Add(absl::StrFormat("gpu_access[%d]", i), "has no gpu_uuid");
      continue;
    }
    // A GPU that no entry names is for everybody, so a slip of the pen would open it.
    if (!IsGpuUuid(entry.gpu_uuid())) {
      problems.Add(absl::StrFormat("gpu_access[%d].gpu_uuid", i),
                   absl::StrFormat("\"%s\" is no GPU UUID; it must look like \"%s\" "
                                   "(nvidia-smi -L)",
                                   entry.gpu_uuid(), kGpuUuidExample));
      continue;
    }
    // Several entries of one GPU add up; one without a uid keeps everybody out.
    config.gpu_users[entry.gpu_uuid()].insert(entry.uid().begin(), entry.uid().end());
  }
}

// What the parser has no words for; OK: it may be text.
absl::Status CheckIsText(std::string_view file, std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s:1:1: begins with a byte-order mark: save the file without one", file));
  }
  const size_t nul = text.find('\0');
  if (nul == std::string_view::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s:%d: has a NUL byte, which no text has: save the file as UTF-8", file,
      1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(nul), '\n')));
}

}  // namespace

absl::StatusOr<LogLevel> ParseLogLevel(std::string_view name) {
  if (name == "trace") return LogLevel::kTrace;
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warning") return LogLevel::kWarning;
  if (name == "error") return LogLevel::kError;
  return absl::InvalidArgumentError(
      absl::StrFormat("\"%s\" is none of trace, debug, info, warning, error", name));
}

absl::StatusOr<Config> ParseConfig(std::string_view file, std::string_view text) {
  ABSL_RETURN_IF_ERROR(CheckIsText(file, text));
  ProblemList problems(file, text, v1::DaemonConfig::descriptor());
  v1::DaemonConfig message;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&problems);
  parser.WriteLocationsTo(problems.locations());
  if (!parser.ParseFromString(std::string(text), &message)) return problems.ToStatus();

  Config config;
  ReadTop(message, problems, config);
  ReadPool(message.pool(), problems, config.pool);
  ReadGroup(message.group(), problems, config.group);
  ReadLimits(message.limits(), problems, config.limits);
  ReadPeerAccess(message.peer_access(), problems, config.peer_access);
  ReadMetrics(message.metrics(), problems, config.metrics);
  ReadGpuAccess(message, problems, config);
  ABSL_RETURN_IF_ERROR(problems.ToStatus());
  return config;
}

absl::StatusOr<Config> LoadConfig(const std::string& path) {
  absl::StatusOr<std::string> text = ReadSmallFile(path, kFileBytesMax, Links::kFollowed);
  if (!text.ok()) {
    return absl::Status(text.status().code(),
                        absl::StrFormat("cannot read config file: %s", text.status().message()));
  }
  return ParseConfig(path, *text);
}

}  // namespace nodecomm
