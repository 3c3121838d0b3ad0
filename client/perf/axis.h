// A logarithmic axis: where a value lies on it, and which values are written beside it. Pure.
// Not how it is drawn: that is svg_chart.h.
// Design note: client/perf/README.md, "picture".
#pragma once

#include <string>
#include <vector>

namespace nodecomm::perf {

struct Tick {
  double value = 0;
  std::string label;
};

struct LogAxis {
  double min = 1;
  double max = 2;
  std::vector<Tick> ticks;

  // 0 at min, 1 at max.
  double Position(double value) const;
};

// Axes that hold `min` to `max`, both above 0: from a power of two to a power of two with at most
// nine ticks, and from one of ..., 1, 2, 5, 10, 20, ... to another.
LogAxis BytesAxis(double min, double max);
LogAxis MicrosecondsAxis(double min, double max);

}  // namespace nodecomm::perf
