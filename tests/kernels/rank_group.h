// A group of ranks in one process, on host threads or on GPUs: what the conformance suite drives.
// Not the client: planes are made and bound here, without daemon or sockets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/all_reduce.h"
#include "kernels/plane_layout.h"
#include "tests/kernels/reference.h"

namespace nodecomm::kernels {

// One all-reduce, the same on all ranks but for where and how each rank holds its buffers.
struct CallSpec {
  ElementType type = ElementType::kFloat32;
  size_t count = 0;
  uint64_t seed = 0;
  Density density = Density::kDense;
  // For each rank: elements by which the buffers are off a 256-byte boundary, and whether it works
  // in place.
  std::vector<int> in_offset;
  std::vector<int> out_offset;
  std::vector<bool> in_place;
};

struct RankOutcome {
  absl::Status status;
  // The output of each call, as raw bytes; then the guard bytes around it were found untouched.
  std::vector<std::vector<uint8_t>> outputs;
  size_t guards_broken = 0;
};

class RankGroup {
 public:
  virtual ~RankGroup() = default;

  // Every rank makes these calls, in order, each rank on its own thread (and stream). Ranks in
  // `absent` make none; `delayed` (-1: none) begins after the others have had time to begin.
  struct Run {
    std::vector<CallSpec> calls;
    // What these ranks call instead.
    std::map<int, std::vector<CallSpec>> other_calls;
    std::vector<int> absent;
    int delayed = -1;
    uint64_t timeout_ns = 20'000'000'000;
  };
  virtual std::vector<RankOutcome> Execute(const Run& run) = 0;
  static const std::vector<CallSpec>& CallsOf(const Run& run, Rank rank) {
    const auto other = run.other_calls.find(rank.value);
    return other == run.other_calls.end() ? run.calls : other->second;
  }

  // This rank makes both calls at the same time, each on a thread (and stream) of its own; the
  // others make none.
  virtual std::vector<absl::Status> ExecuteAtOnce(Rank rank, const CallSpec& first,
                                                  const CallSpec& second) = 0;

  // As if every rank's last call had been this one.
  virtual void SetLastEpoch(uint32_t epoch) = 0;
  // The same of one block alone, on every rank: as if its last call had not ended everywhere.
  virtual void SetLastEpochOfBlock(int block, uint32_t epoch) = 0;
  // As if every rank had made so many checked calls.
  virtual void SetLastCheck(uint32_t sequence) = 0;
  // Fills the credits of every plane with this epoch, as a chunk of 2^32 chunks ago would have left
  // them; and how many in all planes hold it.
  virtual void PlantCredits(uint32_t epoch) = 0;
  virtual size_t CountCredits(uint32_t epoch) = 0;

  virtual void SetStop(uint32_t stop) = 0;
  virtual void SetLeft(Rank rank, uint32_t last_epoch) = 0;
  virtual FailureRecord Failure(Rank rank) const = 0;
  virtual uint32_t Epoch(Rank rank) const = 0;
};

struct GroupOptions {
  WorldSize world_size;
  ByteCount plane_bytes = kPlaneBytesMin;
  int multiprocessors = 132;
  std::optional<Algorithm> algorithm_override;
  bool checked = false;
};

// Null, with `why_not` filled in, if this machine cannot run such a group.
using GroupFactory = std::unique_ptr<RankGroup> (*)(const GroupOptions& options,
                                                    std::string* why_not);

}  // namespace nodecomm::kernels
