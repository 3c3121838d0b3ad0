// See board.h.
#include "client/perf/board.h"

#include <sched.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/base/status_macros.h"
#include "client/base/steady_clock.h"

namespace nodecomm::perf {
namespace {

// A rank that waits yields this long, to leave the barrier together with the others; then it sleeps
// in short steps.
constexpr absl::Duration kYieldTime = absl::Milliseconds(20);
constexpr absl::Duration kSleepStep = absl::Microseconds(200);

struct FailureSlot {
  // 0: free; 1: being written; 2: complete.
  std::atomic<int> state;
  FixedText<1024> text;

  void Write(absl::string_view message) {
    int free = 0;
    if (!state.compare_exchange_strong(free, 1)) return;
    text.Set(message);
    state.store(2, std::memory_order_release);
  }
};

}  // namespace

// Zeroed memory is a valid value of every member.
struct Board::Shared {
  std::atomic<int> arrived;
  std::atomic<uint32_t> generation;
  std::atomic<uint64_t> progress;
  std::atomic<int> failed;
  std::array<FailureSlot, kWorldSizeMax> rank_failures;
  FailureSlot run_failure;
  std::array<std::atomic<bool>, kWorldSizeMax> joining;
  std::array<std::atomic<bool>, kWorldSizeMax> leaving;
  RunFacts facts;
  std::array<FixedText<96>, kWorldSizeMax> gpu_names;
  std::array<FixedText<320>, kWorldSizeMax> first_wrong;
  std::atomic<uint64_t> random_calls_done;
  std::array<std::atomic<uint64_t>, kWorldSizeMax> random_wrong;
  std::array<char, 128> nccl_id;
  std::array<std::atomic<int>, kWorldSizeMax> nccl_ready;
  std::array<Row, kCasesMax> rows;
};

absl::StatusOr<SharedMapping> SharedMapping::Create(ByteCount size) {
  void* data = ::mmap(nullptr, size.value, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("mapping %d shared bytes: %s", size.value, std::strerror(errno)));
  }
  return SharedMapping(static_cast<std::byte*>(data), size);
}

SharedMapping::SharedMapping(SharedMapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}

SharedMapping::~SharedMapping() {
  if (data_ != nullptr) ::munmap(data_, size_.value);
}

absl::StatusOr<std::unique_ptr<Board>> Board::Create(WorldSize ranks) {
  if (ranks.value < 1 || ranks.value > kWorldSizeMax) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d ranks: 1 to %d are possible", ranks.value, kWorldSizeMax));
  }
  ABSL_ASSIGN_OR_RETURN(SharedMapping mapping, SharedMapping::Create({sizeof(Shared)}));
  return std::unique_ptr<Board>(new Board(std::move(mapping), ranks));
}

Board::Board(SharedMapping mapping, WorldSize ranks)
    : mapping_(std::move(mapping)), ranks_(ranks), shared_(new (mapping_.data()) Shared{}) {
  static_assert(std::atomic<uint64_t>::is_always_lock_free, "shared between processes");
}

absl::Status Board::Barrier(absl::Duration timeout) {
  NoteProgress();
  const uint32_t generation = shared_->generation.load(std::memory_order_acquire);
  if (shared_->arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == ranks_.value) {
    shared_->arrived.store(0, std::memory_order_relaxed);
    shared_->generation.store(generation + 1, std::memory_order_release);
    return absl::OkStatus();
  }
  const SteadyTime start = SteadyNow();
  while (shared_->generation.load(std::memory_order_acquire) == generation) {
    if (failed()) return absl::AbortedError("another rank failed");
    const absl::Duration waited = SteadyNow() - start;
    if (waited > timeout) {
      return absl::DeadlineExceededError(absl::StrCat(
          "another rank did not come to the barrier within ", absl::FormatDuration(timeout)));
    }
    if (waited < kYieldTime) {
      ::sched_yield();
    } else {
      absl::SleepFor(kSleepStep);
    }
  }
  return absl::OkStatus();
}

void Board::ReportFailure(Rank rank, absl::string_view message) {
  shared_->rank_failures[rank.value].Write(message);
  shared_->failed.store(1, std::memory_order_release);
}

void Board::ReportFailure(absl::string_view message) {
  shared_->run_failure.Write(message);
  shared_->failed.store(1, std::memory_order_release);
}

bool Board::failed() const { return shared_->failed.load(std::memory_order_acquire) != 0; }

std::string Board::FailureText() const {
  std::string text;
  if (shared_->run_failure.state.load(std::memory_order_acquire) == 2) {
    absl::StrAppend(&text, shared_->run_failure.text.Get(), "\n");
  }
  for (int rank = 0; rank < ranks_.value; ++rank) {
    const FailureSlot& slot = shared_->rank_failures[rank];
    if (slot.state.load(std::memory_order_acquire) != 2) continue;
    absl::StrAppend(&text, "rank ", rank, ": ", slot.text.Get(), "\n");
  }
  return text;
}

std::atomic<bool>& Board::joining(Rank rank) { return shared_->joining[rank.value]; }
std::atomic<bool>& Board::leaving(Rank rank) { return shared_->leaving[rank.value]; }

void Board::NoteProgress() { shared_->progress.fetch_add(1, std::memory_order_relaxed); }
uint64_t Board::progress() const { return shared_->progress.load(std::memory_order_relaxed); }

RunFacts& Board::facts() { return shared_->facts; }
Row& Board::row(size_t index) { return shared_->rows[index]; }
FixedText<96>& Board::gpu_name(Rank rank) { return shared_->gpu_names[rank.value]; }
FixedText<320>& Board::first_wrong(Rank rank) { return shared_->first_wrong[rank.value]; }
std::atomic<uint64_t>& Board::random_calls_done() { return shared_->random_calls_done; }
std::atomic<uint64_t>& Board::random_wrong(Rank rank) { return shared_->random_wrong[rank.value]; }
std::array<char, 128>& Board::nccl_id() { return shared_->nccl_id; }
std::atomic<int>& Board::nccl_ready(Rank rank) { return shared_->nccl_ready[rank.value]; }

}  // namespace nodecomm::perf
