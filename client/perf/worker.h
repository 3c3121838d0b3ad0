// One rank of a run: its communicator, its device, and the memory that its checked calls use.
// Not what is run: that is table_run.h and random_run.h.
// Design note: client/perf/README.md.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/perf/arena.h"
#include "client/perf/board.h"
#include "client/perf/device.h"
#include "client/perf/expected_sums.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

// The longest that one rank may need between two barriers while another waits.
inline constexpr absl::Duration kBarrierTimeout = absl::Minutes(2);

// How much is measured. Graph replays of many calls hide what one launch costs the host.
struct Effort {
  int calls_small, calls_large;
  int repetitions_small, repetitions_large;
  int warmup;

  int Calls(ByteCount bytes) const { return bytes > kSmallMessageMax ? calls_large : calls_small; }
  int Repetitions(ByteCount bytes) const {
    return bytes > kSmallMessageMax ? repetitions_large : repetitions_small;
  }
};

// Little where the time says nothing about the hardware: on a simulated host, and where ranks take
// turns on a GPU.
Effort ChooseEffort(const Options& options, nodecomm_platform platform, int devices);

// One thread.
class Worker {
 public:
  // Joins the group `name`; returns when every rank has.
  static absl::StatusOr<std::unique_ptr<Worker>> Create(const Options& options,
                                                        absl::string_view name, Rank rank,
                                                        Board* board, const SumsMemory* sums);
  // Leaves the group, or aborts it if the run has failed.
  ~Worker();

  // Room for checked calls of one layout. Reserve once, for the largest.
  absl::Status ReserveArena(ByteCount size);
  // Puts the calls' inputs and poison into the arena.
  absl::Status UploadArena(const ArenaLayout& layout);
  absl::Status UploadZeros(const ArenaLayout& layout);
  // Waits for the calls and compares the arena with what it should hold; notes the first difference
  // on the board.
  absl::StatusOr<uint64_t> CountWrong(const ArenaLayout& layout);

  absl::Status Enqueue(const ArenaCall& call);
  absl::Status EnqueueAll(const ArenaLayout& layout);
  std::byte* At(size_t offset) const { return arena_->data() + offset; }

  // Fails once the group has; to be called after synchronising.
  absl::Status CheckGroup();
  absl::Status Barrier() { return board_->Barrier(kBarrierTimeout); }

  const Options& options() const { return options_; }
  Rank rank() const { return rank_; }
  Board* board() const { return board_; }
  Device* device() const { return device_.get(); }
  nodecomm_comm* comm() const { return comm_; }
  Mode mode() const { return mode_; }
  const Effort& effort() const { return effort_; }
  nodecomm_platform platform() const { return platform_; }

 private:
  Worker(const Options& options, Rank rank, Board* board, const SumsMemory* sums)
      : options_(options), rank_(rank), board_(board), sums_(sums) {}
  absl::Status Join(absl::string_view name);
  void PublishFacts(int devices);

  const Options& options_;  // outlives every worker, as do the next three
  const Rank rank_;
  Board* const board_;
  const SumsMemory* const sums_;
  nodecomm_comm* comm_ = nullptr;
  nodecomm_platform platform_ = NODECOMM_PLATFORM_SIMULATED;
  Mode mode_ = Mode::kEager;
  Effort effort_{};
  std::unique_ptr<Device> device_;
  std::unique_ptr<DeviceMemory> arena_;
  // What is uploaded to the arena, and what is downloaded from it.
  std::unique_ptr<std::byte[]> image_;
};

// A result of the C API as a status, with the library's message.
absl::Status ToStatus(nodecomm_result result, absl::string_view what);

}  // namespace nodecomm::perf
