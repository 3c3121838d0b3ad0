// The page that the workers and their parent share: a barrier, who failed and why, and what was
// measured. Not a channel: nothing is queued, and everything in it is plain memory. Design note:
// client/perf/README.md, "processes".
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/base/quantities.h"
#include "client/perf/sizes.h"
#include "client/perf/types.h"

namespace nodecomm::perf {

// Memory that forked children share with their parent; zeroed. Unmapped at the end.
class SharedMapping {
 public:
  static absl::StatusOr<SharedMapping> Create(ByteCount size);
  SharedMapping(SharedMapping&& other) noexcept;
  SharedMapping& operator=(SharedMapping&&) = delete;
  ~SharedMapping();

  std::byte* data() const { return data_; }

 private:
  SharedMapping(std::byte* data, ByteCount size) : data_(data), size_(size) {}
  std::byte* data_;
  ByteCount size_;
};

// A text that fits a fixed place in shared memory; longer ones are cut.
template <size_t kCapacity>
struct FixedText {
  std::array<char, kCapacity> chars;

  void Set(absl::string_view text) {
    const size_t length = text.copy(chars.data(), kCapacity - 1);
    chars[length] = '\0';
  }
  absl::string_view Get() const { return chars.data(); }
};

// What one rank found out about one case.
struct Measurement {
  double latency_us;
  // What the calling thread is kept for; 0: not measured.
  double host_us;
  // 0: not measured.
  double nccl_latency_us;
  uint64_t wrong;
};

struct Row {
  nodecomm_algorithm algorithm;
  std::array<Measurement, kWorldSizeMax> measurements;
  // Ranks whose measurement is complete. The parent prints a row once all are.
  std::atomic<int> ranks_done;
};

// What rank 0 tells about host and run; complete once `ready` is set.
struct RunFacts {
  nodecomm_platform platform;
  Mode mode;
  int calls_small, calls_large;
  int repetitions_small, repetitions_large;
  int devices;
  FixedText<64> driver;
  FixedText<32> cuda_version;
  FixedText<160> nccl;  // its version, or why it is not compared
  std::atomic<int> ready;
};

class Board {
 public:
  // To be called before the workers are forked; at most kWorldSizeMax ranks.
  static absl::StatusOr<std::unique_ptr<Board>> Create(WorldSize ranks);

  WorldSize ranks() const { return ranks_; }

  // Waits for all ranks. Aborted if a rank failed meanwhile; DeadlineExceeded if one does not come.
  // One thread a rank.
  absl::Status Barrier(absl::Duration timeout);

  // Ends the run: barriers return, and the parent stops the workers. The first report of a rank is
  // kept.
  void ReportFailure(Rank rank, absl::string_view message);
  // The same for what concerns no single rank.
  void ReportFailure(absl::string_view message);
  bool failed() const;
  // What was reported, one line each; empty if nothing failed.
  std::string FailureText() const;

  // Whether a rank waits for the others inside of the library, and so hears of no failure here.
  std::atomic<bool>& joining(Rank rank);
  // Whether a rank gives up its communicator, with which gRPC ends in its process.
  std::atomic<bool>& leaving(Rank rank);

  // Counts what happened, so that the parent sees whether anything still does.
  void NoteProgress();
  uint64_t progress() const;

  RunFacts& facts();
  Row& row(size_t index);
  // Each rank's GPU, and what was wrong first, in words.
  FixedText<96>& gpu_name(Rank rank);
  FixedText<320>& first_wrong(Rank rank);
  // Random calls: how many were made, and wrong elements.
  std::atomic<uint64_t>& random_calls_done();
  std::atomic<uint64_t>& random_wrong(Rank rank);
  // For NCCL's unique id, and whether a rank can take part.
  std::array<char, 128>& nccl_id();
  std::atomic<int>& nccl_ready(Rank rank);

 private:
  struct Shared;
  Board(SharedMapping mapping, WorldSize ranks);

  SharedMapping mapping_;
  const WorldSize ranks_;
  Shared* const shared_;  // in mapping_
};

}  // namespace nodecomm::perf
