#include "tests/kernels/host_rank_group.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <thread>

#include "kernels/device/call.h"
#include "kernels/plane_layout.h"
#include "tests/kernels/reference.h"

namespace nodecomm::kernels {
namespace {

constexpr uint8_t kGuard = 0xa5;
constexpr size_t kGuardBytes = 64;

// A buffer at a chosen offset from an aligned address, between guards.
class GuardedBuffer {
 public:
  GuardedBuffer(size_t bytes, size_t offset)
      : bytes_(bytes),
        begin_(kGuardBytes + offset),
        storage_(bytes + 2 * kGuardBytes + offset, kGuard) {}
  uint8_t* data() { return storage_.data() + begin_; }
  bool GuardsIntact() const {
    const auto is_guard = [](uint8_t byte) { return byte == kGuard; };
    return std::all_of(storage_.begin(), storage_.begin() + static_cast<long>(begin_), is_guard) &&
           std::all_of(storage_.begin() + static_cast<long>(begin_ + bytes_), storage_.end(),
                       is_guard);
  }

 private:
  size_t bytes_;
  size_t begin_;
  std::vector<uint8_t> storage_;
};

class HostRankGroup : public RankGroup {
 public:
  explicit HostRankGroup(const GroupOptions& options) : options_(options) {
    const int ranks = options.world_size.value;
    const size_t page = 4096;
    for (int r = 0; r < ranks; ++r) {
      planes_.emplace_back(static_cast<std::byte*>(
          ::operator new (options.plane_bytes.value, std::align_val_t{page})));
      std::memset(planes_.back().get(), 0, options.plane_bytes.value);
    }
    failures_.resize(static_cast<size_t>(ranks));
  }

  std::vector<RankOutcome> Execute(const Run& run) override {
    const int ranks = options_.world_size.value;
    std::vector<RankOutcome> outcomes(static_cast<size_t>(ranks));
    std::atomic<int> begun{0};
    std::vector<std::thread> threads;
    for (int r = 0; r < ranks; ++r) {
      if (std::count(run.absent.begin(), run.absent.end(), r) != 0) continue;
      threads.emplace_back([&, r] {
        // The delayed rank begins when the others are in their first call, or about to be.
        while (r == run.delayed && begun.load() < ranks - 1) std::this_thread::yield();
        begun.fetch_add(1);
        outcomes[static_cast<size_t>(r)] = RunRank(Rank{r}, run);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return outcomes;
  }

  std::vector<absl::Status> ExecuteAtOnce(Rank rank, const CallSpec& first,
                                          const CallSpec& second) override {
    std::vector<absl::Status> statuses(2);
    std::thread other([&] { statuses[1] = RunRank(rank, {.calls = {second}}).status; });
    statuses[0] = RunRank(rank, {.calls = {first}}).status;
    other.join();
    return statuses;
  }

  void SetLastEpoch(uint32_t epoch) override {
    for (auto& plane : planes_) {
      auto* header = reinterpret_cast<PlaneHeader*>(plane.get());
      for (BlockState& block : header->block) block.epoch = {epoch, epoch};
    }
  }
  void SetLastEpochOfBlock(int block, uint32_t epoch) override {
    for (auto& plane : planes_) {
      reinterpret_cast<PlaneHeader*>(plane.get())->block[block].epoch = {epoch, epoch};
    }
  }
  void SetLastCheck(uint32_t sequence) override {
    for (auto& plane : planes_) {
      reinterpret_cast<PlaneHeader*>(plane.get())->check = {sequence, sequence};
    }
  }
  void PlantCredits(uint32_t epoch) override {
    for (auto& plane : planes_) {
      for (auto& block : CreditsOf(plane.get())->finished) {
        std::fill(std::begin(block), std::end(block), epoch);
      }
    }
  }
  size_t CountCredits(uint32_t epoch) override {
    size_t count = 0;
    for (auto& plane : planes_) {
      for (auto& block : CreditsOf(plane.get())->finished) {
        count += static_cast<size_t>(std::count(std::begin(block), std::end(block), epoch));
      }
    }
    return count;
  }
  void SetStop(uint32_t stop) override { stop_ = stop; }
  void SetLeft(Rank rank, uint32_t last_epoch) override {
    left_epoch_[static_cast<size_t>(rank.value)] = last_epoch;
    left_mask_ |= 1u << rank.value;
  }
  FailureRecord Failure(Rank rank) const override {
    return failures_[static_cast<size_t>(rank.value)];
  }
  uint32_t Epoch(Rank rank) const override {
    return LastEpoch(planes_[static_cast<size_t>(rank.value)].get());
  }

 private:
  struct AlignedDelete {
    void operator()(std::byte* plane) const { ::operator delete (plane, std::align_val_t{4096}); }
  };

  RankOutcome RunRank(Rank rank, const Run& run) {
    Binding binding = {.rank = rank,
                       .shape = {.world_size = options_.world_size,
                                 .layout = LayOutPlane(options_.plane_bytes, options_.world_size),
                                 .multiprocessors = options_.multiprocessors,
                                 .algorithm_override = options_.algorithm_override},
                       .stop_words = {&stop_, &left_mask_, left_epoch_.data()},
                       .failure = &failures_[static_cast<size_t>(rank.value)],
                       .timeout_ns = run.timeout_ns,
                       .checked = options_.checked};
    for (size_t r = 0; r < planes_.size(); ++r) binding.planes[r] = planes_[r].get();
    RankOutcome outcome;
    for (const CallSpec& call : CallsOf(run, rank)) {
      const size_t self = static_cast<size_t>(rank.value);
      const size_t size = ElementBytes(call.type);
      const std::vector<uint8_t> input =
          MakeInput(call.type, call.count, rank, call.seed, call.density);
      GuardedBuffer in(input.size(), static_cast<size_t>(call.in_offset[self]) * size);
      GuardedBuffer out(input.size(), static_cast<size_t>(call.out_offset[self]) * size);
      GuardedBuffer& target = call.in_place[self] ? in : out;
      if (!input.empty()) std::memcpy(in.data(), input.data(), input.size());
      outcome.status = AllReduceOnHost(
          binding, {.in = in.data(), .out = target.data(), .count = call.count, .type = call.type});
      if (!outcome.status.ok()) return outcome;
      outcome.guards_broken += in.GuardsIntact() && out.GuardsIntact() ? 0 : 1;
      outcome.outputs.emplace_back(target.data(), target.data() + input.size());
    }
    return outcome;
  }

  GroupOptions options_;
  std::vector<std::unique_ptr<std::byte, AlignedDelete>> planes_;
  std::vector<FailureRecord> failures_;
  uint32_t stop_ = 0;
  uint32_t left_mask_ = 0;
  std::array<uint32_t, kWorldSizeMax> left_epoch_{};
};

}  // namespace

std::unique_ptr<RankGroup> MakeHostRankGroup(const GroupOptions& options, std::string*) {
  return std::make_unique<HostRankGroup>(options);
}

}  // namespace nodecomm::kernels
