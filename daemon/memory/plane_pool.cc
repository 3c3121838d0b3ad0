#include "daemon/memory/plane_pool.h"

#include <algorithm>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "client/base/steady_clock.h"
#include "client/base/steady_wait.h"
#include "daemon/process/open_fds.h"

namespace nodecomm {
namespace {

// What the pool asks of the account before a plane exists; the source tells the true size
// afterwards.
constexpr ByteCount kGranularity = 2_MiB;

// One GPU's planes and account.
struct Stock {
  std::vector<Plane> ready;
  size_t bytes_ready = 0;
  // Being created, by the refill or by Acquire: already counts against the limit.
  size_t bytes_pending = 0;
  int planes_in_use = 0;
  size_t bytes_in_use = 0;
  bool refilling = false;
  bool closed = false;
  std::string refill_error;
  absl::Duration retry_delay;
  SteadyTime retry_at = SteadyTime::InfinitePast();

  size_t bytes_taken() const { return bytes_ready + bytes_pending + bytes_in_use; }
};

absl::Status Validate(const PlanePool::Options& options) {
  const size_t plane_bytes = options.plane_bytes.value;
  if (plane_bytes == 0 || plane_bytes % kGranularity.value != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a plane of %u bytes: the size must be a multiple of 2 MiB and not 0", plane_bytes));
  }
  if (options.planes_ready < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d planes ready on each GPU: must not be negative", options.planes_ready));
  }
  if (static_cast<size_t>(options.planes_ready) > options.bytes_per_gpu_max.value / plane_bytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d planes of %u bytes ready on each GPU do not fit into the limit of %u bytes a GPU",
        options.planes_ready, plane_bytes, options.bytes_per_gpu_max.value));
  }
  return absl::OkStatus();
}

class RefilledPlanePool final : public PlanePool {
 public:
  RefilledPlanePool(Options options, PlaneSource* source)
      : options_(std::move(options)), source_(source) {
    for (const std::string& uuid : options_.gpu_uuids) {
      stocks_[uuid].closed = options_.closed.contains(uuid);
    }
  }
  ~RefilledPlanePool() override {
    {
      absl::MutexLock lock(&mu_);
      stopping_ = true;
      changed_.SignalAll();
    }
    if (refill_.joinable()) refill_.join();
  }
  void Start() {
    refill_ = std::thread([this] { Refill(); });
  }

  absl::StatusOr<PlaneLease> Acquire(std::string_view gpu_uuid, ByteCount bytes) override;
  absl::StatusOr<PlaneLease> Adopt(std::string_view gpu_uuid, ByteCount bytes) override;
  void Close(std::string_view gpu_uuid) override;
  void Open(std::string_view gpu_uuid) override;
  bool WaitUntilFilled(absl::Duration timeout) override;
  std::vector<v1::PoolInfo> List() const override;

 protected:
  void Returned(const std::string& gpu_uuid, ByteCount bytes) override;

 private:
  void Refill();
  // Both: reserves the bytes, creates without the lock, books the true size.
  absl::StatusOr<Plane> CreateForCaller(const std::string& gpu_uuid, Stock& stock, size_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RefillOne(const std::string& gpu_uuid, Stock& stock) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  bool Fits(const Stock& stock, size_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const size_t limit = options_.bytes_per_gpu_max.value;
    return stock.bytes_taken() <= limit && bytes <= limit - stock.bytes_taken();
  }
  bool IsShort(const Stock& stock) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return !stock.closed && static_cast<int>(stock.ready.size()) < options_.planes_ready;
  }
  bool CanRefill(const Stock& stock) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return IsShort(stock) && Fits(stock, options_.plane_bytes.value);
  }
  absl::Status ClosedError(const std::string& gpu_uuid, const Stock& stock) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status OverLimit(const std::string& gpu_uuid, const Stock& stock, size_t bytes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What the source could not make, with the account where memory is used up.
  absl::Status NotMade(const absl::Status& failure, const std::string& gpu_uuid,
                       const Stock& stock) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::PoolInfo InfoOf(const std::string& gpu_uuid, const Stock& stock) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  PlaneSource* const source_;  // outlives the pool
  mutable absl::Mutex mu_;
  // Signalled at every change of a stock: the refill thread, WaitUntilFilled and Acquire wait for
  // it.
  SteadyCondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // Its keys never change, so references into it stay valid without the lock.
  std::map<std::string, Stock, std::less<>> stocks_ ABSL_GUARDED_BY(mu_);
  std::thread refill_;
};

absl::StatusOr<PlaneLease> RefilledPlanePool::Acquire(std::string_view gpu_uuid, ByteCount bytes) {
  absl::MutexLock lock(&mu_);
  const auto found = stocks_.find(gpu_uuid);
  if (found == stocks_.end()) {
    return absl::NotFoundError(absl::StrFormat("no pool for GPU %s: this host has none", gpu_uuid));
  }
  const std::string& uuid = found->first;
  Stock& stock = found->second;
  while (true) {
    if (stock.closed) return ClosedError(uuid, stock);
    if (bytes == options_.plane_bytes && !stock.ready.empty()) {
      Plane plane = std::move(stock.ready.back());
      stock.ready.pop_back();
      stock.bytes_ready -= plane.bytes.value;
      stock.bytes_in_use += plane.bytes.value;
      ++stock.planes_in_use;
      changed_.SignalAll();
      return MakeLease(this, uuid, std::move(plane));
    }
    if (Fits(stock, bytes.value) || !stock.refilling) break;
    // The plane that is just being made may be the one that is asked for, or its creation may fail
    // and make room. Bounded, since the source is.
    changed_.Wait(&mu_);
  }
  if (!Fits(stock, bytes.value)) return OverLimit(uuid, stock, bytes.value);
  auto plane = CreateForCaller(uuid, stock, bytes.value);
  if (!plane.ok()) return plane.status();
  return MakeLease(this, uuid, *std::move(plane));
}

absl::StatusOr<Plane> RefilledPlanePool::CreateForCaller(const std::string& gpu_uuid, Stock& stock,
                                                         size_t bytes) {
  const size_t granules = bytes / kGranularity.value + (bytes % kGranularity.value != 0 ? 1 : 0);
  const size_t reserved = granules * kGranularity.value;
  if (!Fits(stock, reserved)) return OverLimit(gpu_uuid, stock, bytes);
  stock.bytes_pending += reserved;
  mu_.Unlock();
  absl::StatusOr<Plane> plane = source_->Create(gpu_uuid, ByteCount{bytes});
  mu_.Lock();
  stock.bytes_pending -= reserved;
  if (!plane.ok()) plane = NotMade(plane.status(), gpu_uuid, stock);
  // One that was made while the pool was closed goes back at once.
  if (plane.ok() && stock.closed) plane = ClosedError(gpu_uuid, stock);
  if (plane.ok()) {
    stock.bytes_in_use += plane->bytes.value;
    ++stock.planes_in_use;
  }
  changed_.SignalAll();
  return plane;
}

absl::Status RefilledPlanePool::ClosedError(const std::string& gpu_uuid, const Stock& stock) const {
  return absl::UnavailableError(
      absl::StrFormat("GPU %s is %s; see nodecommctl topo, and nodecommctl undrain", gpu_uuid,
                      stock.bytes_in_use == 0 ? "drained" : "being drained"));
}

absl::Status RefilledPlanePool::OverLimit(const std::string& gpu_uuid, const Stock& stock,
                                          size_t bytes) const {
  return absl::ResourceExhaustedError(absl::StrFormat(
      "%u bytes asked for on GPU %s, but %s; ask for less, end other groups, or raise "
      "pool.bytes_per_gpu_max",
      bytes, gpu_uuid, AccountText(InfoOf(gpu_uuid, stock))));
}

absl::Status RefilledPlanePool::NotMade(const absl::Status& failure, const std::string& gpu_uuid,
                                        const Stock& stock) const {
  if (!absl::IsResourceExhausted(failure) || SaysNoFdIsLeft(failure)) return failure;
  return absl::ResourceExhaustedError(absl::StrFormat(
      "%s; of the daemon's bytes on GPU %s, %s; ask for less, or end other groups or programs that "
      "hold its memory (nvidia-smi)",
      failure.message(), gpu_uuid, AccountText(InfoOf(gpu_uuid, stock))));
}

void RefilledPlanePool::RefillOne(const std::string& gpu_uuid, Stock& stock) {
  stock.refilling = true;
  stock.bytes_pending += options_.plane_bytes.value;
  mu_.Unlock();
  absl::StatusOr<Plane> plane = source_->Create(gpu_uuid, options_.plane_bytes);
  mu_.Lock();
  stock.bytes_pending -= options_.plane_bytes.value;
  stock.refilling = false;
  const absl::Status refilled = plane.status();
  const bool changes = refilled.ok() != stock.refill_error.empty();
  if (plane.ok()) {
    // One that was made while the pool was closed goes back at once.
    if (!stock.closed) {
      stock.bytes_ready += plane->bytes.value;
      stock.ready.push_back(*std::move(plane));
    }
    stock.refill_error.clear();
    stock.retry_delay = absl::ZeroDuration();
    stock.retry_at = SteadyTime::InfinitePast();
  } else {
    stock.refill_error = plane.status().ToString();
    stock.retry_delay =
        std::clamp(stock.retry_delay * 2, options_.refill_retry_min, options_.refill_retry_max);
    stock.retry_at = SteadyNow() + stock.retry_delay;
  }
  changed_.SignalAll();
  if (!changes) return;
  mu_.Unlock();
  options_.refill_news(gpu_uuid, refilled);
  mu_.Lock();
}

void RefilledPlanePool::Refill() {
  absl::MutexLock lock(&mu_);
  while (!stopping_) {
    // The GPU that is shortest of planes first, so that one that takes many does not starve the
    // others.
    std::pair<const std::string, Stock>* next = nullptr;
    SteadyTime wake_at = SteadyTime::InfiniteFuture();
    const SteadyTime now = SteadyNow();
    for (auto& entry : stocks_) {
      const Stock& stock = entry.second;
      if (!CanRefill(stock)) continue;
      if (stock.retry_at > now) {
        wake_at = std::min(wake_at, stock.retry_at);
      } else if (next == nullptr || stock.ready.size() < next->second.ready.size()) {
        next = &entry;
      }
    }
    if (next != nullptr) {
      RefillOne(next->first, next->second);
    } else {
      changed_.WaitUntil(&mu_, wake_at);
    }
  }
}

absl::StatusOr<PlaneLease> RefilledPlanePool::Adopt(std::string_view gpu_uuid, ByteCount bytes) {
  absl::MutexLock lock(&mu_);
  const auto found = stocks_.find(gpu_uuid);
  if (found == stocks_.end()) {
    return absl::NotFoundError(absl::StrFormat("no pool for GPU %s: this host has none", gpu_uuid));
  }
  found->second.bytes_in_use += bytes.value;
  ++found->second.planes_in_use;
  return MakeLease(this, found->first, Plane{.fd = UniqueFd(), .bytes = bytes});
}

void RefilledPlanePool::Close(std::string_view gpu_uuid) {
  std::vector<Plane> released;  // closed after the lock is released
  absl::MutexLock lock(&mu_);
  const auto found = stocks_.find(gpu_uuid);
  if (found == stocks_.end()) return;
  found->second.closed = true;
  found->second.bytes_ready = 0;
  released.swap(found->second.ready);
  changed_.SignalAll();
}

void RefilledPlanePool::Open(std::string_view gpu_uuid) {
  absl::MutexLock lock(&mu_);
  const auto found = stocks_.find(gpu_uuid);
  if (found == stocks_.end()) return;
  found->second.closed = false;
  found->second.retry_at = SteadyTime::InfinitePast();
  changed_.SignalAll();
}

bool RefilledPlanePool::WaitUntilFilled(absl::Duration timeout) {
  const SteadyTime deadline = SteadyNow() + timeout;
  absl::MutexLock lock(&mu_);
  const auto settled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return std::all_of(stocks_.begin(), stocks_.end(),
                       [this](const auto& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                         const Stock& stock = entry.second;
                         return !stock.refilling &&
                                (!CanRefill(stock) || !stock.refill_error.empty());
                       });
  };
  return changed_.Await(&mu_, deadline, settled);
}

std::vector<v1::PoolInfo> RefilledPlanePool::List() const {
  absl::MutexLock lock(&mu_);
  std::vector<v1::PoolInfo> pools;
  pools.reserve(stocks_.size());
  // In the order of the options, which is the host's.
  for (const std::string& uuid : options_.gpu_uuids) {
    pools.push_back(InfoOf(uuid, stocks_.find(uuid)->second));
  }
  return pools;
}

v1::PoolInfo RefilledPlanePool::InfoOf(const std::string& gpu_uuid, const Stock& stock) const {
  v1::PoolInfo info;
  info.set_gpu_uuid(gpu_uuid);
  info.set_plane_bytes(options_.plane_bytes.value);
  info.set_planes_ready(static_cast<int>(stock.ready.size()));
  info.set_planes_ready_target(stock.closed ? 0 : options_.planes_ready);
  info.set_planes_in_use(stock.planes_in_use);
  info.set_bytes_ready(stock.bytes_ready);
  info.set_bytes_in_use(stock.bytes_in_use);
  info.set_bytes_pending(stock.bytes_pending);
  info.set_bytes_max(options_.bytes_per_gpu_max.value);
  if (!stock.refill_error.empty()) {
    info.set_last_error(stock.refill_error);
  } else if (IsShort(stock) && !stock.refilling && !CanRefill(stock)) {
    info.set_last_error("no room for another ready plane below pool.bytes_per_gpu_max");
  }
  return info;
}

void RefilledPlanePool::Returned(const std::string& gpu_uuid, ByteCount bytes) {
  absl::MutexLock lock(&mu_);
  Stock& stock = stocks_.find(gpu_uuid)->second;
  stock.bytes_in_use -= bytes.value;
  --stock.planes_in_use;
  changed_.SignalAll();
}

}  // namespace

std::string AccountText(const v1::PoolInfo& pool) {
  return absl::StrFormat("%u are in use and %u ready or being made, of at most %u",
                         pool.bytes_in_use(), pool.bytes_ready() + pool.bytes_pending(),
                         pool.bytes_max());
}

PlaneLease PlanePool::MakeLease(PlanePool* pool, std::string gpu_uuid, Plane plane) {
  return PlaneLease(pool, std::move(gpu_uuid), std::move(plane));
}

absl::StatusOr<std::unique_ptr<PlanePool>> PlanePool::Create(Options options, PlaneSource* source) {
  if (absl::Status status = Validate(options); !status.ok()) return status;
  auto pool = std::make_unique<RefilledPlanePool>(std::move(options), source);
  pool->Start();
  return pool;
}

}  // namespace nodecomm
