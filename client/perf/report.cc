// See report.h.
#include "client/perf/report.h"

#include <sys/utsname.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/perf/json.h"
#include "client/perf/result.h"
#include "client/perf/sweep_report.h"

namespace nodecomm::perf {
namespace {

absl::string_view PlatformName(nodecomm_platform platform) {
  return platform == NODECOMM_PLATFORM_CUDA ? "cuda" : "simulated";
}

// Why the times say nothing; empty where they do.
absl::string_view TimesNote(const Options& options, const RunFacts& facts) {
  if (facts.platform != NODECOMM_PLATFORM_CUDA) {
    return "simulated host: the results are right or wrong as on GPUs, the times say nothing about "
           "GPUs";
  }
  if (facts.devices > 0 && facts.devices < options.ranks.value) {
    return "ranks share GPUs and take turns: the times say nothing";
  }
  return "";
}

std::string WrongText(const Options& options, uint64_t wrong) {
  return options.check ? absl::StrCat(wrong) : "N/A";
}

// The names of the columns.
std::string FormatHead(const Options& options, const RunFacts& facts) {
  std::string text = absl::StrFormat("#%11s %11s %6s %10s %11s %8s %8s %7s", "size", "count",
                                     "type", "algorithm", "time", "algbw", "busbw", "#wrong");
  const bool host = facts.mode == Mode::kEager && facts.platform == NODECOMM_PLATFORM_CUDA;
  if (host) absl::StrAppendFormat(&text, " %8s", "host");
  if (options.compare_nccl) absl::StrAppendFormat(&text, " %11s %7s", "nccl", "ratio");
  absl::StrAppendFormat(&text, "\n#%11s %11s %6s %10s %11s %8s %8s %7s", "(B)", "(elements)", "",
                        "", "(us)", "(GB/s)", "(GB/s)", "");
  if (host) absl::StrAppendFormat(&text, " %8s", "(us)");
  if (options.compare_nccl) absl::StrAppendFormat(&text, " %11s %7s", "(us)", "");
  return text + "\n";
}

void WriteHost(const HostFacts& host, absl::string_view version, const Options& options,
               Board& board, JsonWriter* json) {
  const RunFacts& facts = board.facts();
  const auto text = [&](absl::string_view key, absl::string_view value) {
    json->Key(key);
    json->String(value);
  };
  const auto number = [&](absl::string_view key, int64_t value) {
    json->Key(key);
    json->Integer(value);
  };
  text("machine", host.name);
  text("kernel", host.kernel);
  number("cpus", host.cpus);
  text("time_utc", host.time_utc);
  text("nodecomm_version", version);
  text("platform", PlatformName(facts.platform));
  if (const absl::string_view note = TimesNote(options, facts); !note.empty()) text("note", note);
  json->Key("gpus");
  json->BeginArray();
  for (int rank = 0; rank < board.ranks().value; ++rank) {
    json->String(board.gpu_name(Rank{rank}).Get());
  }
  json->EndArray();
  text("driver", facts.driver.Get());
  text("cuda_version", facts.cuda_version.Get());
  if (options.compare_nccl) text("nccl", facts.nccl.Get());
  number("calls_per_repetition_up_to_1_mib", facts.calls_small);
  number("calls_per_repetition_above_1_mib", facts.calls_large);
  number("repetitions_up_to_1_mib", facts.repetitions_small);
  number("repetitions_above_1_mib", facts.repetitions_large);
}

void WriteResult(const Options& options, Board& board, const Case& c, const Row& row,
                 JsonWriter* json) {
  const Result result = Combine(row, options.ranks);
  const auto number = [&](absl::string_view key, double value) {
    json->Key(key);
    json->Number(value);
  };
  json->BeginObject();
  json->Key("ranks");
  json->Integer(options.ranks.value);
  json->Key("bytes");
  json->Integer(static_cast<int64_t>(c.bytes().value));
  json->Key("type");
  json->String(TypeName(c.type));
  json->Key("mode");
  json->String(ModeName(board.facts().mode));
  json->Key("requested");
  json->String(nodecomm_algorithm_name(c.requested));
  json->Key("algorithm");
  json->String(nodecomm_algorithm_name(row.algorithm));
  number("latency_us", result.latency_us);
  if (result.host_us > 0) number("host_us", result.host_us);
  number("algbw_gbps", AlgorithmBandwidthGbps(c.bytes(), result.latency_us));
  number("busbw_gbps", BusBandwidthGbps(c.bytes(), result.latency_us, options.ranks));
  json->Key("wrong");
  if (options.check) {
    json->Integer(static_cast<int64_t>(result.wrong));
  } else {
    json->Null();
  }
  if (result.nccl_latency_us > 0) number("nccl_latency_us", result.nccl_latency_us);
  json->EndObject();
}

void WriteRandom(const Options& options, Board& board, JsonWriter* json) {
  uint64_t wrong = 0;
  for (int rank = 0; rank < board.ranks().value; ++rank) wrong += board.random_wrong(Rank{rank});
  json->Key("random");
  json->BeginObject();
  json->Key("ranks");
  json->Integer(options.ranks.value);
  json->Key("calls");
  json->Integer(static_cast<int64_t>(board.random_calls_done().load()));
  json->Key("seed");
  json->Integer(static_cast<int64_t>(options.seed));
  json->Key("wrong");
  json->Integer(static_cast<int64_t>(wrong));
  json->EndObject();
}

}  // namespace

std::string FormatHeader(const Options& options, Board& board) {
  const RunFacts& facts = board.facts();
  std::string text;
  if (facts.platform == NODECOMM_PLATFORM_CUDA) {
    for (int rank = 0; rank < board.ranks().value; ++rank) {
      absl::StrAppendFormat(&text, "# rank %d: %s\n", rank, board.gpu_name(Rank{rank}).Get());
    }
    absl::StrAppendFormat(&text, "# driver %s, CUDA runtime %s\n", facts.driver.Get(),
                          facts.cuda_version.Get());
  }
  const absl::string_view note = TimesNote(options, facts);
  if (!note.empty()) absl::StrAppend(&text, "# ", note, "\n");
  if (options.compare_nccl) absl::StrAppend(&text, "# NCCL: ", facts.nccl.Get(), "\n");
  if (options.random_calls > 0) return text;
  absl::StrAppendFormat(&text,
                        "# mode %s, %s; %d calls a repetition up to 1 MiB, %d above; median of %d "
                        "repetitions, %d above; "
                        "maximum over ranks\n",
                        ModeName(facts.mode), options.in_place ? "in place" : "out of place",
                        facts.calls_small, facts.calls_large, facts.repetitions_small,
                        facts.repetitions_large);
  return text + (options.sweep ? FormatSweepHead(options) : FormatHead(options, facts));
}

std::string FormatRow(const Options& options, const Case& c, const Row& row) {
  const Result result = Combine(row, options.ranks);
  std::string text =
      absl::StrFormat(" %11d %11d %6s %10s %11.2f %8.2f %8.2f %7s", c.bytes().value, c.count,
                      TypeName(c.type), nodecomm_algorithm_name(row.algorithm), result.latency_us,
                      AlgorithmBandwidthGbps(c.bytes(), result.latency_us),
                      BusBandwidthGbps(c.bytes(), result.latency_us, options.ranks),
                      WrongText(options, result.wrong));
  if (result.host_us > 0) absl::StrAppendFormat(&text, " %8.2f", result.host_us);
  if (result.nccl_latency_us > 0) {
    absl::StrAppendFormat(&text, " %11.2f %6.2fx", result.nccl_latency_us,
                          result.nccl_latency_us / result.latency_us);
  }
  return text + "\n";
}

HostFacts ReadHostFacts() {
  HostFacts host;
  utsname name{};
  if (::uname(&name) == 0) {
    host.name = name.nodename;
    host.kernel = absl::StrCat(name.sysname, " ", name.release, " ", name.machine);
  }
  host.cpus = static_cast<int>(std::thread::hardware_concurrency());
  host.time_utc = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
  return host;
}

std::string FormatJson(const Options& options, const HostFacts& host, absl::string_view version,
                       Board& board, std::span<const Case> cases) {
  JsonWriter json;
  json.BeginObject();
  json.Key("host");
  json.BeginObject();
  WriteHost(host, version, options, board, &json);
  json.EndObject();
  json.Key("results");
  json.BeginArray();
  for (size_t i = 0; i < cases.size(); ++i) {
    WriteResult(options, board, cases[i], board.row(i), &json);
  }
  json.EndArray();
  if (options.sweep) WriteSweep(CompareAlgorithms(cases, options.ranks, board), &json);
  if (options.random_calls > 0) WriteRandom(options, board, &json);
  json.EndObject();
  return json.text() + "\n";
}

}  // namespace nodecomm::perf
