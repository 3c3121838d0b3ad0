// What a sweep finds out: which algorithm is the fastest at a size, what auto loses against it, and
// up to which size one-shot leads. Pure, and not its text: that is sweep_report.h.
// Design note: client/perf/README.md, "sweep".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "client/perf/board.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

// One size of one type, measured with every algorithm.
struct Comparison {
  Case size;
  double auto_us = 0;
  double one_shot_us = 0;
  double two_shot_us = 0;
  // 0: not measured.
  double nccl_us = 0;
  // What auto takes at this size.
  nodecomm_algorithm chosen = NODECOMM_ALGORITHM_AUTO;
  // In all runs together.
  uint64_t wrong = 0;

  nodecomm_algorithm Fastest() const;
  // What auto takes longer than the fastest. Measured, so it is seldom 0 where auto has chosen
  // rightly, and can be less.
  double AutoLossPercent() const;
  // What two-shot takes less than one-shot; less than 0 where it takes more.
  double TwoShotGainPercent() const;
};

// `cases` as ListCases orders them, up to the first whose row is not complete. Sizes that lack an
// algorithm are left out.
std::vector<Comparison> CompareAlgorithms(std::span<const Case> cases, WorldSize ranks,
                                          Board& board);

// Of one type.
struct Crossover {
  nodecomm_type type = NODECOMM_FLOAT32;
  // The largest size at which one-shot is the fastest; not set: there is none.
  std::optional<ByteCount> one_shot_max;
  // The size after that; not set: there is none.
  std::optional<ByteCount> two_shot_min;
  // Smaller sizes than one_shot_max at which two-shot is faster all the same. None: one crossover.
  std::vector<ByteCount> exceptions;
  // The most that two-shot gains at one of them.
  double exception_percent_max = 0;
  // The largest size at which auto takes one-shot; not set: it never does.
  std::optional<ByteCount> auto_one_shot_max;
  double auto_loss_percent_max = 0;
  // Where that is.
  ByteCount auto_loss_bytes;
};

// One a type, in the order in which types come; sizes of a type must rise.
std::vector<Crossover> FindCrossovers(std::span<const Comparison> comparisons);

}  // namespace nodecomm::perf
