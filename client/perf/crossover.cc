// See crossover.h.
#include "client/perf/crossover.h"

#include <algorithm>

#include "client/perf/result.h"

namespace nodecomm::perf {
namespace {

Crossover FindCrossover(std::span<const Comparison> of_type) {
  Crossover found{.type = of_type[0].size.type};
  found.auto_loss_bytes = of_type[0].size.bytes();
  found.auto_loss_percent_max = of_type[0].AutoLossPercent();
  for (const Comparison& comparison : of_type) {
    const ByteCount bytes = comparison.size.bytes();
    if (comparison.chosen == NODECOMM_ALGORITHM_ONE_SHOT) found.auto_one_shot_max = bytes;
    if (comparison.AutoLossPercent() > found.auto_loss_percent_max) {
      found.auto_loss_percent_max = comparison.AutoLossPercent();
      found.auto_loss_bytes = bytes;
    }
    if (comparison.Fastest() == NODECOMM_ALGORITHM_ONE_SHOT) {
      found.one_shot_max = bytes;
      found.two_shot_min.reset();
    } else if (!found.two_shot_min) {
      found.two_shot_min = bytes;
    }
  }
  for (const Comparison& comparison : of_type) {
    if (!found.one_shot_max || comparison.size.bytes() > *found.one_shot_max) break;
    if (comparison.Fastest() == NODECOMM_ALGORITHM_ONE_SHOT) continue;
    found.exceptions.push_back(comparison.size.bytes());
    found.exception_percent_max =
        std::max(found.exception_percent_max, comparison.TwoShotGainPercent());
  }
  return found;
}

}  // namespace

nodecomm_algorithm Comparison::Fastest() const {
  return one_shot_us <= two_shot_us ? NODECOMM_ALGORITHM_ONE_SHOT : NODECOMM_ALGORITHM_TWO_SHOT;
}

double Comparison::AutoLossPercent() const {
  const double fastest_us = std::min(one_shot_us, two_shot_us);
  return fastest_us > 0 ? (auto_us / fastest_us - 1) * 100 : 0;
}

double Comparison::TwoShotGainPercent() const {
  return one_shot_us > 0 ? (1 - two_shot_us / one_shot_us) * 100 : 0;
}

std::vector<Comparison> CompareAlgorithms(std::span<const Case> cases, WorldSize ranks,
                                          Board& board) {
  const size_t sizes = static_cast<size_t>(std::ranges::count_if(
      cases, [](const Case& c) { return c.requested == NODECOMM_ALGORITHM_AUTO; }));
  std::vector<Comparison> comparisons;
  for (size_t i = 0; 2 * sizes + i < cases.size(); ++i) {
    const Result with_auto = Combine(board.row(i), ranks);
    const Result one_shot = Combine(board.row(sizes + i), ranks);
    const Result two_shot = Combine(board.row(2 * sizes + i), ranks);
    comparisons.push_back({.size = cases[i],
                           .auto_us = with_auto.latency_us,
                           .one_shot_us = one_shot.latency_us,
                           .two_shot_us = two_shot.latency_us,
                           .nccl_us = with_auto.nccl_latency_us,
                           .chosen = board.row(i).algorithm,
                           .wrong = with_auto.wrong + one_shot.wrong + two_shot.wrong});
  }
  return comparisons;
}

std::vector<Crossover> FindCrossovers(std::span<const Comparison> comparisons) {
  std::vector<Crossover> crossovers;
  for (size_t first = 0, end = 0; first < comparisons.size(); first = end) {
    const nodecomm_type type = comparisons[first].size.type;
    while (end < comparisons.size() && comparisons[end].size.type == type) ++end;
    crossovers.push_back(FindCrossover(comparisons.subspan(first, end - first)));
  }
  return crossovers;
}

}  // namespace nodecomm::perf
