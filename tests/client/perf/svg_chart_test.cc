// The SVG text. That it is XML is checked by a parser in tests/e2e/plot_test.sh.
// See client/perf/svg_chart.h.
// Design note: client/perf/README.md, "picture".
#include "client/perf/svg_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace nodecomm::perf {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Chart TwoLines() {
  return {.title = "All-reduce latency, 4 x GPU",
          .subtitle = "bf16; graph mode",
          .series = {{"nodecomm", Subject::kAuto, 0, {{1024, 2}, {2048, 4}, {4096, 20}}},
                     {"NCCL", Subject::kNccl, 0, {{1024, 10}, {4096, 20}}}}};
}

int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(RenderSvg, HasALineAndAPointEach) {
  const std::string svg = RenderSvg(TwoLines());
  EXPECT_EQ(Count(svg, "<polyline "), 2);
  EXPECT_EQ(Count(svg, "<circle "), 5);
  // From the lower left to the upper right corner of the axes; 4 is 30 % of the way from 2 to 20.
  EXPECT_THAT(svg, HasSubstr("points=\"72.0,428.0 420.0,319.6 768.0,68.0\""));
}

TEST(RenderSvg, HasTitleAxesUnitsAndLegend) {
  const std::string svg = RenderSvg(TwoLines());
  for (const char* text :
       {"<title>All-reduce latency, 4 x GPU</title>", ">All-reduce latency, 4 x GPU</text>",
        ">bf16; graph mode</text>", ">message size (bytes, log scale)</text>",
        ">latency (\u00b5s, log scale)</text>", ">1 KiB</text>", ">4 KiB</text>", ">2</text>",
        ">20</text>", ">nodecomm</text>", ">NCCL</text>",
        "<title>nodecomm, 2 KiB: 4.00 us</title>"}) {
    EXPECT_THAT(svg, HasSubstr(text));
  }
}

TEST(RenderSvg, NeedsNothingFromOutside) {
  const std::string svg = RenderSvg(TwoLines());
  EXPECT_EQ(Count(svg, "://"), 1);  // the name of the namespace
  for (const char* text : {"<script", "<style", "<image", "href", "url("}) {
    EXPECT_THAT(svg, Not(HasSubstr(text)));
  }
}

TEST(RenderSvg, TellsLinesOfOneSubjectApartByDashes) {
  Chart chart = TwoLines();
  chart.series[1].subject = Subject::kAuto;
  EXPECT_THAT(RenderSvg(chart), Not(HasSubstr("stroke-dasharray")));
  chart.series[1].dashes = 1;
  EXPECT_EQ(Count(RenderSvg(chart), "stroke-dasharray"), 2);  // the line and its legend
}

TEST(RenderSvg, MakesRoomForLegendAndNote) {
  Chart chart = TwoLines();
  EXPECT_THAT(RenderSvg(chart), HasSubstr("height=\"512\""));
  chart.series.resize(4, chart.series[0]);
  EXPECT_THAT(RenderSvg(chart), HasSubstr("height=\"532\""));
  chart.note = "simulated";
  EXPECT_THAT(RenderSvg(chart), HasSubstr("height=\"552\""));
  EXPECT_THAT(RenderSvg(chart), HasSubstr(">simulated</text>"));
}

TEST(RenderSvg, EscapesWhatXmlWouldNotTake) {
  Chart chart = TwoLines();
  chart.title = "a<b>&\"c\"\x01\xff";
  chart.series[0].name = "<&>";
  const std::string svg = RenderSvg(chart);
  EXPECT_THAT(svg, HasSubstr("<title>a&lt;b&gt;&amp;\"c\"?\?</title>"));
  EXPECT_THAT(svg, HasSubstr("<title>&lt;&amp;&gt;, 1 KiB: 2.00 us</title>"));
}

// As the Web Content Accessibility Guidelines define them.
double Luminance(const std::string& colour) {
  const double weights[] = {0.2126, 0.7152, 0.0722};
  double luminance = 0;
  for (int i = 0; i < 3; ++i) {
    const double part =
        static_cast<double>(std::strtol(colour.substr(1 + 2 * i, 2).c_str(), nullptr, 16)) / 255;
    luminance +=
        weights[i] * (part <= 0.04045 ? part / 12.92 : std::pow((part + 0.055) / 1.055, 2.4));
  }
  return luminance;
}
double Contrast(const std::string& one, const std::string& other) {
  const auto [low, high] = std::minmax({Luminance(one), Luminance(other)});
  return (high + 0.05) / (low + 0.05);
}

TEST(RenderSvg, IsReadableOnWhiteAndOnDarkPages) {
  Chart chart = TwoLines();
  for (const Subject subject : {Subject::kOneShot, Subject::kTwoShot}) {
    chart.series.push_back(chart.series[0]);
    chart.series.back().subject = subject;
  }
  const std::string svg = RenderSvg(chart);
  int colours = 0;
  for (size_t at = svg.find("\"#"); at != std::string::npos; at = svg.find("\"#", at + 1)) {
    const std::string colour = svg.substr(at + 1, 7);
    for (const char* page : {"#ffffff", "#0d1117"}) {
      // What the guidelines ask of graphics; and of large text, which ours exceeds.
      EXPECT_GE(Contrast(colour, page), 3.0) << colour << " on " << page;
    }
    ++colours;
  }
  EXPECT_GT(colours, 10);
  EXPECT_THAT(svg, HasSubstr("fill=\"#797979\""));
  EXPECT_GE(Contrast("#797979", "#ffffff"), 4.3);
  EXPECT_GE(Contrast("#797979", "#0d1117"), 4.3);
}

}  // namespace
}  // namespace nodecomm::perf
