// From a JSON file to an SVG file.
// See client/perf/plot.h.
// Design note: client/perf/README.md, "picture".
#include "client/perf/plot.h"

#include "client/perf/files.h"
#include "tests/support/status_matchers.h"

namespace nodecomm::perf {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(PlotFile, DrawsAFileOrSaysWhatIsWrongWithIt) {
  const std::string json = ::testing::TempDir() + "/nodecomm_plot_test.json";
  const std::string svg = ::testing::TempDir() + "/nodecomm_plot_test.svg";
  ASSERT_THAT(WriteFile(json, R"({"results": [{"bytes": 64, "type": "f32", "latency_us": 1}]})"),
              IsOk());
  EXPECT_THAT(PlotFile(json, svg), IsOk());
  EXPECT_THAT(ReadFile(svg).value_or("?"), HasSubstr("<circle "));
  EXPECT_THAT(PlotFile(json, "/nonexistent/a.svg"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("/nonexistent/a.svg")));
  ASSERT_THAT(WriteFile(json, "{}"), IsOk());
  EXPECT_THAT(PlotFile(json, svg),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(json + ": no results")));
  EXPECT_THAT(PlotFile("/nonexistent/a.json", svg), StatusIs(absl::StatusCode::kNotFound));
  std::remove(json.c_str());
  std::remove(svg.c_str());
}

}  // namespace
}  // namespace nodecomm::perf
