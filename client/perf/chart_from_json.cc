// See chart_from_json.h.
#include "client/perf/chart_from_json.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/base/status_macros.h"

namespace nodecomm::perf {
namespace {

using google::protobuf::ListValue;
using google::protobuf::Struct;
using google::protobuf::Value;

// Members that are absent, or of another kind, are empty or 0.
const Value& Member(const Struct& object, const char* key) {
  const auto found = object.fields().find(key);
  return found == object.fields().end() ? Value::default_instance() : found->second;
}
const std::string& Text(const Struct& object, const char* key) {
  return Member(object, key).string_value();
}
double Number(const Struct& object, const char* key) { return Member(object, key).number_value(); }
const ListValue& List(const Struct& object, const char* key) {
  return Member(object, key).list_value();
}

// "4 x NVIDIA H100 80GB HBM3"; several names with " + ".
std::string DescribeGpus(const Struct& host) {
  std::vector<std::pair<std::string, int>> counts;
  for (const Value& gpu : List(host, "gpus").values()) {
    const auto known = std::ranges::find_if(
        counts, [&](const auto& count) { return count.first == gpu.string_value(); });
    if (known == counts.end()) {
      counts.emplace_back(gpu.string_value(), 1);
    } else {
      ++known->second;
    }
  }
  if (Text(host, "platform") == "simulated") {
    return absl::StrCat(List(host, "gpus").values_size(), " ranks on a simulated host");
  }
  // Where ranks share GPUs their number is not that of the GPUs.
  const char* between = Text(host, "note").empty() ? " x " : " ranks on ";
  return absl::StrJoin(counts, " + ", [&](std::string* text, const auto& count) {
    absl::StrAppend(text, count.second, between, count.first);
  });
}

class ChartReader {
 public:
  explicit ChartReader(const Struct& document)
      : host_(Member(document, "host").struct_value()), results_(List(document, "results")) {
    for (const Value& result : results_.values()) {
      const std::string& type = Text(result.struct_value(), "type");
      if (std::ranges::find(types_, type) == types_.end()) types_.push_back(type);
    }
  }

  absl::StatusOr<Chart> Read() {
    for (const Value& result : results_.values()) {
      ABSL_RETURN_IF_ERROR(AddResult(result.struct_value()));
    }
    if (chart_.series.empty()) return absl::InvalidArgumentError("no results to draw");
    chart_.title = absl::StrCat("All-reduce latency, ", DescribeGpus(host_));
    chart_.subtitle = Subtitle();
    chart_.note = Text(host_, "note");
    return std::move(chart_);
  }

 private:
  absl::Status AddResult(const Struct& result) {
    const std::string& requested = Text(result, "requested");
    // Documents of versions before --sweep do not say.
    if (requested == "auto" || requested.empty()) {
      Add(result, "latency_us", Subject::kAuto, "nodecomm");
    } else if (requested == "one_shot") {
      Add(result, "latency_us", Subject::kOneShot, "nodecomm one_shot");
    } else if (requested == "two_shot") {
      Add(result, "latency_us", Subject::kTwoShot, "nodecomm two_shot");
    } else {
      return absl::InvalidArgumentError(
          absl::StrFormat("a result asks for the unknown algorithm \"%s\"", requested));
    }
    Add(result, "nccl_latency_us", Subject::kNccl, "NCCL");
    return absl::OkStatus();
  }

  void Add(const Struct& result, const char* latency, Subject subject, const char* name) {
    const ChartPoint point{Number(result, "bytes"), Number(result, latency)};
    // What was not measured has no place on a logarithmic axis.
    if (!(point.bytes >= 1) || !(point.latency_us > 0)) return;
    const std::string& type = Text(result, "type");
    const int dashes = static_cast<int>(std::ranges::find(types_, type) - types_.begin());
    auto series = std::ranges::find_if(chart_.series, [&](const Series& known) {
      return known.subject == subject && known.dashes == dashes;
    });
    if (series == chart_.series.end()) {
      const std::string full_name = types_.size() > 1 ? absl::StrCat(name, " ", type) : name;
      series = chart_.series.insert(series, {full_name, subject, dashes, {}});
    }
    series->points.push_back(point);
  }

  std::string Subtitle() const {
    const Struct& first = results_.values(0).struct_value();
    std::vector<std::string> parts{absl::StrJoin(types_, ", "),
                                   absl::StrCat(Text(first, "mode"), " mode")};
    if (std::ranges::any_of(
            chart_.series, [](const Series& series) { return series.subject == Subject::kNccl; })) {
      parts.push_back(absl::StrCat("NCCL ", Text(host_, "nccl")));
    }
    return absl::StrJoin(parts, "; ");
  }

  const Struct& host_;        // into the document
  const ListValue& results_;  // the same
  std::vector<std::string> types_;
  Chart chart_;
};

}  // namespace

absl::StatusOr<Chart> ReadChart(absl::string_view json) {
  Struct document;
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), &document);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("not JSON: ", parsed.ToString()));
  }
  return ChartReader(document).Read();
}

}  // namespace nodecomm::perf
