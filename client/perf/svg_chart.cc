// See svg_chart.h.
#include "client/perf/svg_chart.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/perf/axis.h"
#include "client/perf/sizes.h"

namespace nodecomm::perf {
namespace {

constexpr int kWidth = 800;
constexpr int kLeft = 72;
constexpr int kRight = 768;
constexpr int kTop = 68;
constexpr int kBottom = 428;
constexpr int kLegendTop = kBottom + 64;
constexpr int kLegendColumns = 3;
constexpr int kLineHeight = 20;

// Colours that stand out from white and from near-black alike, since nobody knows the page: a
// picture in a page cannot see that page's theme, and the system's may be another.
constexpr char kInk[] = "#797979";
constexpr char kGrid[] = "#808080";

const char* Colour(Subject subject) {
  switch (subject) {
    case Subject::kAuto:
      return "#2f7ee0";
    case Subject::kOneShot:
      return "#2b9a58";
    case Subject::kTwoShot:
      return "#9d66e0";
    case Subject::kNccl:
      return "#d06c12";
  }
  return kInk;
}

const char* DashAttribute(int dashes) {
  constexpr const char* kAttributes[] = {"", " stroke-dasharray=\"8 4\"",
                                         " stroke-dasharray=\"2 4\""};
  return kAttributes[dashes % std::size(kAttributes)];
}

// As text of an element. Anything but printable ASCII could make the document ill-formed.
std::string Escape(absl::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else {
      escaped += c >= 0x20 && c < 0x7f ? c : '?';
    }
  }
  return escaped;
}

struct Axes {
  LogAxis bytes;
  LogAxis latency;

  double X(double value) const { return kLeft + bytes.Position(value) * (kRight - kLeft); }
  double Y(double value) const { return kBottom - latency.Position(value) * (kBottom - kTop); }
};

Axes MakeAxes(const Chart& chart) {
  ChartPoint min{1e30, 1e30};
  ChartPoint max{0, 0};
  for (const Series& series : chart.series) {
    for (const ChartPoint& point : series.points) {
      min = {std::min(min.bytes, point.bytes), std::min(min.latency_us, point.latency_us)};
      max = {std::max(max.bytes, point.bytes), std::max(max.latency_us, point.latency_us)};
    }
  }
  return {BytesAxis(min.bytes, max.bytes), MicrosecondsAxis(min.latency_us, max.latency_us)};
}

void AppendAxes(const Axes& axes, std::string* svg) {
  absl::StrAppendFormat(svg, "<g stroke=\"%s\" stroke-opacity=\"0.3\">\n", kGrid);
  for (const Tick& tick : axes.bytes.ticks) {
    absl::StrAppendFormat(svg, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n",
                          axes.X(tick.value), kTop, axes.X(tick.value), kBottom);
  }
  for (const Tick& tick : axes.latency.ticks) {
    absl::StrAppendFormat(svg, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>\n", kLeft,
                          axes.Y(tick.value), kRight, axes.Y(tick.value));
  }
  absl::StrAppend(svg, "</g>\n");
  absl::StrAppendFormat(svg, "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"%s\"/>\n", kLeft,
                        kTop, kBottom, kRight, kInk);
  absl::StrAppend(svg, "<g text-anchor=\"middle\">\n");
  for (const Tick& tick : axes.bytes.ticks) {
    absl::StrAppendFormat(svg, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", axes.X(tick.value),
                          kBottom + 18, tick.label);
  }
  absl::StrAppendFormat(svg, "<text x=\"%d\" y=\"%d\">message size (bytes, log scale)</text>\n",
                        (kLeft + kRight) / 2, kBottom + 40);
  absl::StrAppendFormat(svg,
                        "<text transform=\"translate(20 %d) rotate(-90)\">latency (\u00b5s, log "
                        "scale)</text>\n</g>\n",
                        (kTop + kBottom) / 2);
  absl::StrAppend(svg, "<g text-anchor=\"end\">\n");
  for (const Tick& tick : axes.latency.ticks) {
    absl::StrAppendFormat(svg, "<text x=\"%d\" y=\"%.1f\">%s</text>\n", kLeft - 8,
                          axes.Y(tick.value) + 4, tick.label);
  }
  absl::StrAppend(svg, "</g>\n");
}

void AppendSeries(const Axes& axes, const Series& series, std::string* svg) {
  const char* colour = Colour(series.subject);
  absl::StrAppendFormat(svg, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s points=\"",
                        colour, DashAttribute(series.dashes));
  const char* separator = "";
  for (const ChartPoint& point : series.points) {
    absl::StrAppendFormat(svg, "%s%.1f,%.1f", separator, axes.X(point.bytes),
                          axes.Y(point.latency_us));
    separator = " ";
  }
  absl::StrAppendFormat(svg, "\"/>\n<g fill=\"%s\">\n", colour);
  for (const ChartPoint& point : series.points) {
    // Shown by browsers where the pointer is.
    const std::string value =
        absl::StrFormat("%s, %s: %.2f us", series.name,
                        FormatBytes({static_cast<size_t>(point.bytes)}), point.latency_us);
    absl::StrAppendFormat(svg,
                          "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>%s</title></circle>\n",
                          axes.X(point.bytes), axes.Y(point.latency_us), Escape(value));
  }
  absl::StrAppend(svg, "</g>\n");
}

void AppendLegend(const std::vector<Series>& all, std::string* svg) {
  constexpr int kColumnWidth = (kRight - kLeft) / kLegendColumns;
  for (size_t i = 0; i < all.size(); ++i) {
    const int x = kLeft + static_cast<int>(i) % kLegendColumns * kColumnWidth;
    const int y = kLegendTop + static_cast<int>(i) / kLegendColumns * kLineHeight;
    absl::StrAppendFormat(svg, "<path d=\"M%d %dh28\" stroke=\"%s\" stroke-width=\"2\"%s/>\n", x,
                          y - 4, Colour(all[i].subject), DashAttribute(all[i].dashes));
    absl::StrAppendFormat(svg, "<text x=\"%d\" y=\"%d\">%s</text>\n", x + 36, y,
                          Escape(all[i].name));
  }
}

}  // namespace

std::string RenderSvg(const Chart& chart) {
  const int legend_lines =
      (static_cast<int>(chart.series.size()) + kLegendColumns - 1) / kLegendColumns;
  const int note_y = kLegendTop + legend_lines * kLineHeight;
  const int height = chart.note.empty() ? note_y : note_y + kLineHeight;
  const Axes axes = MakeAxes(chart);
  std::string svg = absl::StrFormat(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
      "role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"%s\">\n"
      "<title>%s</title>\n"
      "<text x=\"%d\" y=\"26\" font-size=\"17\" font-weight=\"bold\">%s</text>\n"
      "<text x=\"%d\" y=\"47\">%s</text>\n",
      kWidth, height, kWidth, height, kInk, Escape(chart.title), kLeft, Escape(chart.title), kLeft,
      Escape(chart.subtitle));
  AppendAxes(axes, &svg);
  for (const Series& series : chart.series) AppendSeries(axes, series, &svg);
  AppendLegend(chart.series, &svg);
  if (!chart.note.empty()) {
    absl::StrAppendFormat(&svg, "<text x=\"%d\" y=\"%d\" font-style=\"italic\">%s</text>\n", kLeft,
                          note_y, Escape(chart.note));
  }
  return svg + "</svg>\n";
}

}  // namespace nodecomm::perf
