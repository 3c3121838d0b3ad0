// See plot.h.
#include "client/perf/plot.h"

#include "absl/strings/str_cat.h"
#include "client/base/status_macros.h"
#include "client/perf/chart_from_json.h"
#include "client/perf/files.h"
#include "client/perf/svg_chart.h"

namespace nodecomm::perf {

absl::Status WritePlot(const std::string& json, const std::string& svg_path) {
  ABSL_ASSIGN_OR_RETURN(const Chart chart, ReadChart(json));
  return WriteFile(svg_path, RenderSvg(chart));
}

absl::Status PlotFile(const std::string& json_path, const std::string& svg_path) {
  ABSL_ASSIGN_OR_RETURN(const std::string json, ReadFile(json_path));
  absl::Status status = WritePlot(json, svg_path);
  if (!absl::IsInvalidArgument(status)) return status;
  return absl::InvalidArgumentError(absl::StrCat(json_path, ": ", status.message()));
}

}  // namespace nodecomm::perf
