// Draws latency over message size as an SVG file that needs nothing else: no font, no script, no
// style from outside. Pure. Not where the points come from: that is chart_from_json.h.
// Design note: client/perf/README.md, "picture".
#pragma once

#include <string>
#include <vector>

namespace nodecomm::perf {

// What a line is about decides its colour.
enum class Subject { kAuto, kOneShot, kTwoShot, kNccl };

// Both above 0.
struct ChartPoint {
  double bytes = 0;
  double latency_us = 0;
};

struct Series {
  std::string name;
  Subject subject = Subject::kAuto;
  // Lines of one subject differ in their dashes: 0 is drawn through.
  int dashes = 0;
  // In the order in which they are joined.
  std::vector<ChartPoint> points;
};

// Texts may hold anything: what XML does not take is replaced.
struct Chart {
  std::string title;
  std::string subtitle;
  // Below everything; may be empty.
  std::string note;
  // At least one with a point.
  std::vector<Series> series;
};

std::string RenderSvg(const Chart& chart);

}  // namespace nodecomm::perf
