// What the user sees of a sweep: its table, where the algorithms cross, and its part of the JSON
// document. Pure. Not the figures: those are crossover.h's.
// Design note: client/perf/README.md, "sweep".
#pragma once

#include <span>
#include <string>

#include "client/perf/crossover.h"
#include "client/perf/json.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

// Head and rows fit each other.
std::string FormatSweepHead(const Options& options);
std::string FormatSweepRow(const Options& options, const Comparison& comparison);

// Two lines a type: up to which size one-shot is the fastest, and what auto makes of it.
std::string FormatCrossovers(std::span<const Comparison> comparisons);

// The member "sweep" of the document.
void WriteSweep(std::span<const Comparison> comparisons, JsonWriter* json);

}  // namespace nodecomm::perf
