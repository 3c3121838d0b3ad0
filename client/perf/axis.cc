// See axis.h.
#include "client/perf/axis.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "client/perf/sizes.h"

namespace nodecomm::perf {
namespace {

constexpr int kBytesStepsMax = 8;
// With more, only powers of ten are written.
constexpr size_t kMicrosecondsTicksMax = 12;

bool IsPowerOfTen(double value) {
  const double exponent = std::log10(value);
  return std::abs(exponent - std::round(exponent)) < 1e-9;
}

}  // namespace

double LogAxis::Position(double value) const { return std::log(value / min) / std::log(max / min); }

LogAxis BytesAxis(double min, double max) {
  const int low = static_cast<int>(std::floor(std::log2(min)));
  const int high = std::max(static_cast<int>(std::ceil(std::log2(max))), low + 1);
  const int step = (high - low + kBytesStepsMax - 1) / kBytesStepsMax;
  LogAxis axis{.min = std::exp2(low), .max = std::exp2(high)};
  for (int exponent = low; exponent <= high; exponent += step) {
    const double bytes = std::exp2(exponent);
    axis.ticks.push_back({bytes, FormatBytes({static_cast<size_t>(bytes)})});
  }
  return axis;
}

LogAxis MicrosecondsAxis(double min, double max) {
  LogAxis axis;
  const int first_decade = static_cast<int>(std::floor(std::log10(min)));
  for (int decade = first_decade; axis.ticks.size() < 2 || axis.ticks.back().value < max;
       ++decade) {
    for (const int digit : {1, 2, 5}) {
      const double value = digit * std::pow(10.0, decade);
      // The largest that is not above `min` is the first to stay.
      if (value <= min) axis.ticks.clear();
      axis.ticks.push_back({value, absl::StrFormat("%.10g", value)});
      if (axis.ticks.size() >= 2 && value >= max) break;
    }
  }
  axis.min = axis.ticks.front().value;
  axis.max = axis.ticks.back().value;
  if (axis.ticks.size() > kMicrosecondsTicksMax) {
    std::erase_if(axis.ticks, [](const Tick& tick) { return !IsPowerOfTen(tick.value); });
  }
  return axis;
}

}  // namespace nodecomm::perf
