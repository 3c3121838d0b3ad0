// See sweep_report.h.
#include "client/perf/sweep_report.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/perf/sizes.h"

namespace nodecomm::perf {
namespace {

// So many sizes are named in a line; of further ones only the number.
constexpr size_t kNamedMax = 6;

std::string FormatSizes(const std::vector<ByteCount>& sizes) {
  std::string text;
  const size_t named = std::min(sizes.size(), kNamedMax);
  for (size_t i = 0; i < named; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", FormatBytes(sizes[i]));
  }
  if (sizes.size() > named) absl::StrAppendFormat(&text, " and %d more", sizes.size() - named);
  return text;
}

std::string FormatLead(const Crossover& crossover) {
  if (!crossover.one_shot_max) return "two_shot is the fastest at every size";
  if (!crossover.exceptions.empty()) {
    return absl::StrFormat(
        "not monotonic: the largest size at which one_shot is the fastest is %s, but two_shot is "
        "faster at %s too, by up to %.1f%%",
        FormatBytes(*crossover.one_shot_max), FormatSizes(crossover.exceptions),
        crossover.exception_percent_max);
  }
  if (!crossover.two_shot_min) return "one_shot is the fastest at every size";
  return absl::StrFormat("one_shot is the fastest up to %s, two_shot from %s on",
                         FormatBytes(*crossover.one_shot_max),
                         FormatBytes(*crossover.two_shot_min));
}

std::string FormatAuto(const Crossover& crossover) {
  const std::string choice = crossover.auto_one_shot_max
                                 ? absl::StrFormat("auto takes one_shot up to %s",
                                                   FormatBytes(*crossover.auto_one_shot_max))
                                 : "auto never takes one_shot";
  return absl::StrFormat("%s; against the fastest it loses most at %s: %+.1f%%", choice,
                         FormatBytes(crossover.auto_loss_bytes), crossover.auto_loss_percent_max);
}

void WriteBytes(absl::string_view key, const std::optional<ByteCount>& bytes, JsonWriter* json) {
  json->Key(key);
  if (bytes) {
    json->Integer(static_cast<int64_t>(bytes->value));
  } else {
    json->Null();
  }
}

void WriteComparison(const Comparison& comparison, JsonWriter* json) {
  const auto text = [&](absl::string_view key, absl::string_view value) {
    json->Key(key);
    json->String(value);
  };
  const auto number = [&](absl::string_view key, double value) {
    json->Key(key);
    json->Number(value);
  };
  json->BeginObject();
  WriteBytes("bytes", comparison.size.bytes(), json);
  text("type", TypeName(comparison.size.type));
  number("one_shot_us", comparison.one_shot_us);
  number("two_shot_us", comparison.two_shot_us);
  number("auto_us", comparison.auto_us);
  text("auto_chose", nodecomm_algorithm_name(comparison.chosen));
  text("fastest", nodecomm_algorithm_name(comparison.Fastest()));
  number("auto_loss_percent", comparison.AutoLossPercent());
  json->EndObject();
}

void WriteCrossover(const Crossover& crossover, JsonWriter* json) {
  json->BeginObject();
  json->Key("type");
  json->String(TypeName(crossover.type));
  WriteBytes("one_shot_fastest_bytes_max", crossover.one_shot_max, json);
  json->Key("two_shot_faster_below_bytes");
  json->BeginArray();
  for (const ByteCount bytes : crossover.exceptions) {
    json->Integer(static_cast<int64_t>(bytes.value));
  }
  json->EndArray();
  WriteBytes("auto_one_shot_bytes_max", crossover.auto_one_shot_max, json);
  json->Key("auto_loss_percent_max");
  json->Number(crossover.auto_loss_percent_max);
  WriteBytes("auto_loss_bytes", crossover.auto_loss_bytes, json);
  json->EndObject();
}

}  // namespace

std::string FormatSweepHead(const Options& options) {
  std::string text =
      "# sweep: a group for auto, one for one_shot, one for two_shot, one after the other; rows "
      "come with the last\n";
  absl::StrAppendFormat(&text, "#%11s %11s %6s %11s %11s %11s %10s %10s %8s %7s", "size", "count",
                        "type", "one_shot", "two_shot", "auto", "auto", "fastest", "auto",
                        "#wrong");
  if (options.compare_nccl) absl::StrAppendFormat(&text, " %11s", "nccl");
  absl::StrAppendFormat(&text, "\n#%11s %11s %6s %11s %11s %11s %10s %10s %8s %7s", "(B)",
                        "(elements)", "", "(us)", "(us)", "(us)", "chose", "", "loses", "");
  if (options.compare_nccl) absl::StrAppendFormat(&text, " %11s", "(us)");
  return text + "\n";
}

std::string FormatSweepRow(const Options& options, const Comparison& comparison) {
  std::string text = absl::StrFormat(
      " %11d %11d %6s %11.2f %11.2f %11.2f %10s %10s %7s%% %7s", comparison.size.bytes().value,
      comparison.size.count, TypeName(comparison.size.type), comparison.one_shot_us,
      comparison.two_shot_us, comparison.auto_us, nodecomm_algorithm_name(comparison.chosen),
      nodecomm_algorithm_name(comparison.Fastest()),
      absl::StrFormat("%+.1f", comparison.AutoLossPercent()),
      options.check ? absl::StrCat(comparison.wrong) : "N/A");
  if (comparison.nccl_us > 0) absl::StrAppendFormat(&text, " %11.2f", comparison.nccl_us);
  return text + "\n";
}

std::string FormatCrossovers(std::span<const Comparison> comparisons) {
  std::string text;
  for (const Crossover& crossover : FindCrossovers(comparisons)) {
    absl::StrAppendFormat(&text, "# %s: %s\n# %s: %s\n", TypeName(crossover.type),
                          FormatLead(crossover), TypeName(crossover.type), FormatAuto(crossover));
  }
  return text;
}

void WriteSweep(std::span<const Comparison> comparisons, JsonWriter* json) {
  json->Key("sweep");
  json->BeginObject();
  json->Key("sizes");
  json->BeginArray();
  for (const Comparison& comparison : comparisons) WriteComparison(comparison, json);
  json->EndArray();
  json->Key("crossovers");
  json->BeginArray();
  for (const Crossover& crossover : FindCrossovers(comparisons)) WriteCrossover(crossover, json);
  json->EndArray();
  json->EndObject();
}

}  // namespace nodecomm::perf
