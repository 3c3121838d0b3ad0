// What the parts of nodecomm-perf share: the options of a run, its cases and its element types.
// No behaviour beyond names and sizes.
// Design note: client/perf/README.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/base/quantities.h"
#include "nodecomm/nodecomm.h"

namespace nodecomm::perf {

enum class Mode { kGraph, kEager };

constexpr absl::string_view ModeName(Mode mode) { return mode == Mode::kGraph ? "graph" : "eager"; }

constexpr size_t TypeBytes(nodecomm_type type) { return type == NODECOMM_FLOAT32 ? 4 : 2; }

constexpr absl::string_view TypeName(nodecomm_type type) {
  switch (type) {
    case NODECOMM_FLOAT32:
      return "f32";
    case NODECOMM_FLOAT16:
      return "f16";
    case NODECOMM_BFLOAT16:
      return "bf16";
  }
  return "?";
}

struct Options {
  WorldSize ranks{2};
  ByteCount bytes_min = 1_KiB;
  ByteCount bytes_max = 64_MiB;
  // Each size is this times the last. Not set: 2, and in a sweep the midpoints between as well.
  std::optional<int> step_factor;
  std::vector<nodecomm_type> types{NODECOMM_FLOAT32};
  // Not set: graphs on GPUs, eager on a simulated host.
  std::optional<Mode> mode;
  bool check = false;
  bool in_place = false;
  bool compare_nccl = false;
  // Repetitions of a measurement and unmeasured ones before it. Not set: by size and platform.
  std::optional<int> repetitions;
  std::optional<int> warmup;
  // 0: the daemon's default.
  ByteCount plane_bytes{0};
  nodecomm_algorithm algorithm = NODECOMM_ALGORITHM_AUTO;
  // GPUs to spread the ranks over. Not set: as many as CUDA sees, or as there are ranks.
  std::optional<int> gpus;
  // Not empty: also written there.
  std::string json_path;
  // Not empty: a picture of the results is drawn there.
  std::string plot_path;
  // Not empty: the results of that JSON file are drawn, and nothing is run.
  std::string from_path;
  // Empty: the library's default.
  std::string runtime_dir;
  // Every size with every algorithm, to compare them; `algorithm` does not count then.
  bool sweep = false;
  // More than 0: that many random calls instead of the table.
  uint64_t random_calls = 0;
  uint64_t seed = 1;
};

// One row of the table.
struct Case {
  nodecomm_type type = NODECOMM_FLOAT32;
  size_t count = 0;
  // What the group is formed with. Which algorithm then serves the case is in its row.
  nodecomm_algorithm requested = NODECOMM_ALGORITHM_AUTO;

  ByteCount bytes() const { return {count * TypeBytes(type)}; }
};

// Messages up to this size get more calls and repetitions than larger ones.
inline constexpr ByteCount kSmallMessageMax = 1_MiB;

}  // namespace nodecomm::perf
