// A registry over fakes: two to four simulated GPUs, a pool without stock, a courier that keeps
// what is sent.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "daemon/group/group_registry.h"
#include "proto/control_page.h"
#include "tests/support/fake_fd_courier.h"
#include "tests/support/fake_plane_source.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace nodecomm {

inline constexpr absl::Duration kLong = absl::Seconds(20);

// What a callback is given, waited for with a bound. Lives until it has been called, or the
// registry is gone.
template <typename T>
class Answer {
 public:
  auto Callback() {
    return [this](T value) {
      ASSERT_FALSE(called_.HasBeenNotified()) << "answered twice";
      value_ = std::move(value);
      called_.Notify();
    };
  }
  bool come() const { return called_.HasBeenNotified(); }
  const T& Wait() {
    EXPECT_TRUE(called_.WaitForNotificationWithTimeout(kLong)) << "no answer";
    return value_;
  }

 private:
  absl::Notification called_;
  T value_ = absl::UnknownError("no answer");
};
using JoinAnswer = Answer<absl::StatusOr<v1::JoinGroupResponse>>;
using ConfirmAnswer = Answer<absl::Status>;
using SharedAnswer = Answer<absl::StatusOr<v1::AllocateSharedResponse>>;

// A control page as a member maps it.
class MappedPage {
 public:
  explicit MappedPage(int fd)
      : page_(mmap(nullptr, kControlPageBytes, PROT_READ, MAP_SHARED, fd, 0)) {
    EXPECT_NE(page_, MAP_FAILED);
  }
  ~MappedPage() { munmap(page_, kControlPageBytes); }
  MappedPage(const MappedPage&) = delete;
  MappedPage& operator=(const MappedPage&) = delete;
  const ControlPage* operator->() const { return static_cast<const ControlPage*>(page_); }

 private:
  void* page_;
};

class GroupTest : public ::testing::Test {
 protected:
  GroupTest() { Restart(); }
  ~GroupTest() override { registry_ = nullptr; }

  static std::string Uuid(int gpu) { return absl::StrCat("GPU-", gpu); }
  static std::vector<std::string> Uuids() { return {Uuid(0), Uuid(1), Uuid(2), Uuid(3)}; }
  static v1::Host FourGpus() {
    v1::Host host;
    for (const std::string& uuid : Uuids()) host.add_gpus()->set_uuid(uuid);
    for (const std::string& from : Uuids()) {
      for (const std::string& to : Uuids()) {
        if (from == to) continue;
        v1::Link* link = host.add_links();
        link->set_from_uuid(from);
        link->set_to_uuid(to);
        link->set_kind(v1::LINK_KIND_NVSWITCH);
        link->set_peer_access(v1::PEER_ACCESS_SUPPORTED);
      }
    }
    return host;
  }
  // One process per rank unless a test wants otherwise.
  static Caller CallerOf(int rank) {
    return {.session = {static_cast<uint64_t>(rank) + 1}, .uid = 1000, .pid = 4000 + rank};
  }
  static v1::JoinGroupRequest Request(int rank, int world_size) {
    v1::JoinGroupRequest request;
    request.set_name("tp");
    request.set_world_size(world_size);
    request.set_rank(rank);
    request.set_gpu_uuid(Uuid(rank % 4));
    request.set_plane_abi(1);
    request.set_algorithm_table(1);
    request.set_multiprocessors(132);
    return request;
  }

  // A registry with these options.
  void Restart() {
    registry_ = nullptr;
    auto pool = PlanePool::Create({.gpu_uuids = Uuids(),
                                   .plane_bytes = 4_MiB,
                                   .planes_ready = planes_ready_,
                                   .bytes_per_gpu_max = bytes_per_gpu_max_},
                                  &source_);
    ASSERT_OK(pool);
    pool_ = *std::move(pool);
    options_.groups_dir = dir_;
    admission_ = std::make_unique<Admission>(&host_, policy_, users_);
    auto registry = GroupRegistry::Create(options_, Parts());
    ASSERT_OK(registry);
    registry_ = *std::move(registry);
  }

  GroupRegistry::Parts Parts() {
    return {.admission = admission_.get(), .pool = pool_.get(), .courier = &courier_};
  }

  JoinAnswer& Join(const v1::JoinGroupRequest& request, std::optional<Caller> caller = {}) {
    JoinAnswer& answer = *joins_.emplace_back(std::make_unique<JoinAnswer>());
    registry_->Join(caller.value_or(CallerOf(request.rank())), request, answer.Callback());
    return answer;
  }
  ConfirmAnswer& Confirm(uint64_t generation, int rank, std::optional<Caller> caller = {}) {
    ConfirmAnswer& answer = *confirms_.emplace_back(std::make_unique<ConfirmAnswer>());
    v1::ConfirmGroupRequest request;
    request.set_generation(generation);
    request.set_rank(rank);
    registry_->Confirm(caller.value_or(CallerOf(rank)), request, answer.Callback());
    return answer;
  }
  SharedAnswer& AllocateShared(uint64_t generation, int rank, ByteCount bytes,
                               uint64_t sequence = 0, absl::Duration timeout = absl::Hours(1),
                               std::optional<Caller> caller = {}) {
    SharedAnswer& answer = *shareds_.emplace_back(std::make_unique<SharedAnswer>());
    v1::AllocateSharedRequest request;
    request.set_generation(generation);
    request.set_rank(rank);
    request.set_bytes(bytes.value);
    request.set_sequence(sequence);
    request.set_timeout_ms(absl::ToInt64Milliseconds(timeout));
    registry_->AllocateShared(caller.value_or(CallerOf(rank)), request, answer.Callback());
    return answer;
  }
  absl::Status FreeShared(uint64_t generation, int rank, uint64_t sequence = 0,
                          std::optional<Caller> caller = {}) {
    v1::FreeSharedRequest request;
    request.set_generation(generation);
    request.set_rank(rank);
    request.set_sequence(sequence);
    return registry_->FreeShared(caller.value_or(CallerOf(rank)), request);
  }
  absl::Status Leave(uint64_t generation, int rank, uint32_t last_epoch = 0,
                     std::optional<Caller> caller = {}) {
    v1::LeaveGroupRequest request;
    request.set_generation(generation);
    request.set_rank(rank);
    request.set_last_epoch(last_epoch);
    return registry_->Leave(caller.value_or(CallerOf(rank)), request);
  }
  absl::Status Abort(uint64_t generation, int rank, const std::string& reason,
                     std::optional<Caller> caller = {}) {
    v1::AbortGroupRequest request;
    request.set_generation(generation);
    request.set_rank(rank);
    request.set_reason(reason);
    return registry_->Abort(caller.value_or(CallerOf(rank)), request);
  }

  // A group whose ranks have joined, each with what it was told and sent.
  struct Formed {
    uint64_t generation = 0;
    std::vector<v1::JoinGroupResponse> responses;
    std::vector<FakeFdCourier::Transfer> transfers;
    int page_fd(int rank) const { return transfers[static_cast<size_t>(rank)].fds.back().get(); }
  };
  Formed FormMapping(int world_size, const std::string& name = "tp") {
    std::vector<JoinAnswer*> answers;
    for (int rank = 0; rank < world_size; ++rank) {
      v1::JoinGroupRequest request = Request(rank, world_size);
      request.set_name(name);
      answers.push_back(&Join(request));
    }
    Formed formed;
    for (JoinAnswer* answer : answers) {
      const auto& response = answer->Wait();
      EXPECT_OK(response);
      if (!response.ok()) return formed;
      formed.generation = response->generation();
      formed.responses.push_back(*response);
      formed.transfers.push_back(courier_.Take(response->transfer_id()));
    }
    return formed;
  }
  Formed FormReady(int world_size, const std::string& name = "tp") {
    Formed formed = FormMapping(world_size, name);
    std::vector<ConfirmAnswer*> answers;
    for (int rank = 0; rank < world_size; ++rank) {
      answers.push_back(&Confirm(formed.generation, rank));
    }
    for (ConfirmAnswer* answer : answers) EXPECT_OK(answer->Wait());
    return formed;
  }

  uint64_t BytesInUse() const {
    uint64_t sum = 0;
    for (const v1::PoolInfo& info : pool_->List()) sum += info.bytes_in_use();
    return sum;
  }
  size_t ControlPageFiles() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir_),
                                             std::filesystem::directory_iterator()));
  }
  // Polls, for what follows a callback or happens on a thread of the registry.
  static bool Eventually(const std::function<bool()>& condition) {
    const absl::Time deadline = absl::Now() + kLong;
    while (!condition()) {
      if (absl::Now() > deadline) return false;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return true;
  }
  // Every group has ended and nothing is held of the host.
  bool NothingIsHeld() const {
    return Eventually([this] {
      return registry_->List().empty() && BytesInUse() == 0 && ControlPageFiles() == 0;
    });
  }

  HostState host_{FourGpus()};
  FastPathPolicy policy_{.trust_driver = true};
  GpuUsers users_;
  std::unique_ptr<Admission> admission_;
  GroupRegistry::Options options_{.groups_dir = "",
                                  .plane_bytes_default = 4_MiB,
                                  .limits = {.rendezvous_timeout_default = absl::Hours(1)}};
  int planes_ready_ = 0;
  ByteCount bytes_per_gpu_max_ = 1024_MiB;
  const TemporaryDirectory directory_;
  const std::string dir_ = directory_.path();
  FakePlaneSource source_{Uuids()};
  FakeFdCourier courier_;
  std::unique_ptr<PlanePool> pool_;
  std::vector<std::unique_ptr<JoinAnswer>> joins_;
  std::vector<std::unique_ptr<ConfirmAnswer>> confirms_;
  std::vector<std::unique_ptr<SharedAnswer>> shareds_;
  std::unique_ptr<GroupRegistry> registry_;
};

}  // namespace nodecomm
