// The stock of fresh planes on every GPU, and the account of what is handed out.
// Not a cache of used memory: a plane is used once; what comes back is released to the driver and a
// new one made. Design note: daemon/README.md, "pools".
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/base/quantities.h"
#include "daemon/memory/plane_source.h"
#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

class PlanePool;

// For messages, the account of a GPU: "8388608 are in use and 4194304 ready or being made, of at
// most 16777216".
std::string AccountText(const v1::PoolInfo& pool);

// A plane, or shared buffer, that is accounted for; destroying it closes the fd and gives the bytes
// back to the account. (The memory itself lives on while a worker maps it.) Move-only; must not
// outlive its pool.
class [[nodiscard]] PlaneLease {
 public:
  PlaneLease() = default;
  PlaneLease(PlaneLease&& other) noexcept;
  PlaneLease& operator=(PlaneLease&& other) noexcept;
  ~PlaneLease();

  int fd() const { return plane_.fd.get(); }
  ByteCount bytes() const { return plane_.bytes; }

 private:
  friend class PlanePool;
  PlaneLease(PlanePool* pool, std::string gpu_uuid, Plane plane);
  void Release();

  PlanePool* pool_ = nullptr;  // outlives the lease; null: empty
  std::string gpu_uuid_;
  Plane plane_;
};

// Thread-safe.
class PlanePool {
 public:
  struct Options {
    std::vector<std::string> gpu_uuids;
    std::set<std::string> closed;  // those of gpu_uuids that are closed at first
    ByteCount plane_bytes;         // size of the planes held ready
    int planes_ready = 0;          // of those, on each GPU
    ByteCount bytes_per_gpu_max;   // ready and in use together
    // A failed refill is tried again after this long, doubled at each failure in a row up to the
    // maximum.
    absl::Duration refill_retry_min = absl::Seconds(1);
    absl::Duration refill_retry_max = absl::Seconds(60);
    // Told when refills begin to fail, with the first error, and when they work again. On the
    // pool's thread, with no lock held.
    std::function<void(const std::string& gpu_uuid, const absl::Status& refilled)> refill_news =
        [](const std::string&, const absl::Status&) {};
  };

  // `source` outlives the pool. Starts a thread that keeps the stock filled; does not wait for it.
  static absl::StatusOr<std::unique_ptr<PlanePool>> Create(Options options, PlaneSource* source);
  virtual ~PlanePool() = default;

  // A ready plane if `bytes` is the pool's plane size and one is there, else a new one. Never
  // returns memory that was used before. ResourceExhausted: over bytes_per_gpu_max or the GPU is
  // full (the message gives GPU, asked, and the account), or the daemon has no descriptors left;
  // NotFound: no such GPU; Unavailable: it is closed.
  virtual absl::StatusOr<PlaneLease> Acquire(std::string_view gpu_uuid, ByteCount bytes) = 0;

  // Books memory that an earlier daemon handed out and that workers still map; its descriptors died
  // with that daemon, so the lease has none. Never refused for want of room: it is taken already.
  // NotFound: no such GPU.
  virtual absl::StatusOr<PlaneLease> Adopt(std::string_view gpu_uuid, ByteCount bytes) = 0;

  // Gives the GPU's ready planes back, and makes none on it until Open. What is in use stays.
  virtual void Close(std::string_view gpu_uuid) = 0;
  virtual void Open(std::string_view gpu_uuid) = 0;

  // Waits until every GPU's stock is full or its refill has failed, or until the deadline. False:
  // deadline.
  virtual bool WaitUntilFilled(absl::Duration timeout) = 0;

  virtual std::vector<v1::PoolInfo> List() const = 0;

 protected:
  friend class PlaneLease;
  // For implementations, which are no friends of PlaneLease.
  static PlaneLease MakeLease(PlanePool* pool, std::string gpu_uuid, Plane plane);
  virtual void Returned(const std::string& gpu_uuid, ByteCount bytes) = 0;
};

}  // namespace nodecomm
