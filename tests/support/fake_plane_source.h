// A PlaneSource for tests: small memfds, on any GPU it is told of, with faults on demand.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "daemon/memory/plane_source.h"

namespace nodecomm {

// Thread-safe.
class FakePlaneSource final : public PlaneSource {
 public:
  explicit FakePlaneSource(const std::vector<std::string>& gpu_uuids)
      : gpu_uuids_(gpu_uuids.begin(), gpu_uuids.end()) {}

  // The `count` calls after the next `after` ones fail with `status`.
  void FailCalls(int after, int count, absl::Status status) {
    absl::MutexLock lock(&mu_);
    fail_from_ = calls_ + after;
    fail_until_ = fail_from_ + count;
    failure_ = std::move(status);
  }
  // While held, calls wait.
  void Hold() {
    absl::MutexLock lock(&mu_);
    held_ = true;
  }
  void LetGo() {
    absl::MutexLock lock(&mu_);
    held_ = false;
  }
  void WaitForCalls(int calls) const {
    absl::MutexLock lock(&mu_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return calls_ >= calls; };
    mu_.Await(absl::Condition(&enough));
  }
  int calls() const {
    absl::MutexLock lock(&mu_);
    return calls_;
  }

  void ServeOnly(const std::optional<std::vector<std::string>>& gpu_uuids) override {
    absl::MutexLock lock(&mu_);
    served_ = gpu_uuids;
  }
  absl::StatusOr<Plane> Create(std::string_view gpu_uuid, ByteCount bytes) override {
    {
      absl::MutexLock lock(&mu_);
      const int call = calls_++;
      const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !held_; };
      mu_.Await(absl::Condition(&free));
      if (call >= fail_from_ && call < fail_until_) return failure_;
      if (served_.has_value() && std::count(served_->begin(), served_->end(), gpu_uuid) == 0) {
        return absl::UnavailableError(absl::StrFormat("GPU %s is not served", gpu_uuid));
      }
    }
    if (!gpu_uuids_.contains(std::string(gpu_uuid))) {
      return absl::NotFoundError(absl::StrFormat("no GPU %s", gpu_uuid));
    }
    const size_t rounded = (bytes.value + (2_MiB).value - 1) / (2_MiB).value * (2_MiB).value;
    UniqueFd fd(memfd_create("fake-plane", MFD_CLOEXEC));
    if (!fd.valid() || ftruncate(fd.get(), static_cast<off_t>(rounded)) != 0) {
      return absl::ErrnoToStatus(errno, "memfd of the fake plane source");
    }
    return Plane{std::move(fd), ByteCount{rounded}};
  }

 private:
  const std::set<std::string> gpu_uuids_;
  mutable absl::Mutex mu_;
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
  int fail_from_ ABSL_GUARDED_BY(mu_) = 0;
  int fail_until_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  std::optional<std::vector<std::string>> served_ ABSL_GUARDED_BY(mu_);  // if not all
};

}  // namespace nodecomm
