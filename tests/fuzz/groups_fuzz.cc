// Fuzzes what workers may ask of groups, in any order and from several users: joins, confirmations,
// leaves, aborts, shared buffers and ends. Every question is answered once, nobody speaks for
// another, and in the end nothing is held. One thread, so that an input does the same every time:
// memory is made and time passes when the input says so, and other calls come while it is made.

#include <deque>
#include <functional>
#include <memory>
#include <set>

#include "client/base/steady_clock.h"
#include "daemon/group/group_registry.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"
#include "tests/support/fake_fd_courier.h"
#include "tests/support/fake_plane_source.h"

namespace nodecomm {
namespace {

constexpr int kCallers = 6;
constexpr int kGpus = 4;
constexpr int kCallsMax = 64;

std::string Uuid(int gpu) { return "GPU-" + std::to_string(gpu); }

v1::Host FourGpus() {
  v1::Host host;
  for (int from = 0; from < kGpus; ++from) {
    host.add_gpus()->set_uuid(Uuid(from));
    for (int to = 0; to < kGpus; ++to) {
      if (from == to) continue;
      v1::Link* link = host.add_links();
      link->set_from_uuid(Uuid(from));
      link->set_to_uuid(Uuid(to));
      link->set_kind(v1::LINK_KIND_NVSWITCH);
      link->set_peer_access(v1::PEER_ACCESS_SUPPORTED);
    }
  }
  return host;
}

std::vector<std::string> Uuids() {
  std::vector<std::string> uuids;
  for (int gpu = 0; gpu < kGpus; ++gpu) uuids.push_back(Uuid(gpu));
  return uuids;
}

// Sessions of three users.
Caller CallerOf(int index) {
  return {.session = {static_cast<uint64_t>(index) + 1},
          .uid = static_cast<uid_t>(1000 + index % 3),
          .pid = 100 + index};
}

// Whether each question was answered, and at most once.
class Answers {
 public:
  auto Expect() {
    int& count = counts_.emplace_back(0);  // stays where it is
    return [&count](const auto&) { Require(++count == 1, "an answer comes once"); };
  }
  void CheckAllCame() const {
    for (const int count : counts_) Require(count == 1, "every question is answered");
  }

 private:
  std::deque<int> counts_;
};

// Memory that takes its time: others have their turn while it is made.
class SlowSource final : public PlaneSource {
 public:
  absl::StatusOr<Plane> Create(std::string_view gpu_uuid, ByteCount bytes) override {
    if (meanwhile) meanwhile();
    return source_.Create(gpu_uuid, bytes);
  }
  std::function<void()> meanwhile;

 private:
  FakePlaneSource source_{Uuids()};
};

// Of all runs: a pool has a thread, which makes nothing here.
struct Memory {
  SlowSource source;
  std::unique_ptr<PlanePool> pool = *PlanePool::Create(
      {.gpu_uuids = Uuids(), .plane_bytes = 2_MiB, .planes_ready = 0, .bytes_per_gpu_max = 16_MiB},
      &source);
};

Memory& GetMemory() {
  static auto* memory = new Memory;
  return *memory;
}

class World {
 public:
  explicit World(Input& input) : input_(input) {
    memory_.source.meanwhile = [this] {
      if (input_.Number(3) == 0 && !input_.empty()) Step();
    };
    GroupRegistry::Options options;
    options.plane_bytes_default = 2_MiB;
    options.limits.rendezvous_timeout_default = absl::Hours(1);
    options.limits.groups_max = 8;
    options.limits.groups_per_uid_max = 5;
    options.threads = GroupRegistry::Options::Threads::kCallers;
    registry_ = *GroupRegistry::Create(
        options, {.admission = &admission_, .pool = memory_.pool.get(), .courier = &courier_});
  }
  ~World() {
    memory_.source.meanwhile = nullptr;
    for (int i = 0; i < kCallers; ++i) registry_->SessionEnded(CallerOf(i).session, "ended");
    Require(registry_->List().empty(), "no group is left");
    answers_.CheckAllCame();
    for (const v1::PoolInfo& pool : memory_.pool->List()) {
      Require(pool.bytes_in_use() == 0, "all memory comes back");
    }
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void Run() {
    for (int call = 0; call < kCallsMax && !input_.empty(); ++call) {
      Step();
      // Some calls come before there is memory, or long after.
      if (const int pause = input_.Number(4); pause < 4)
        registry_->RunDue(SteadyNow() + kPauses[pause]);
    }
  }

 private:
  // From one call to the next: past no deadline, the short one, that of mapping, all.
  static constexpr absl::Duration kPauses[] = {absl::ZeroDuration(), absl::Milliseconds(2),
                                               absl::Seconds(31), absl::Hours(2)};

  void Step() {
    Input& input = input_;
    const int index = input.Number(kCallers - 1);
    const Caller caller = CallerOf(index);
    switch (input.Number(10)) {
      case 0:
      case 1:
      case 2:
        return Join(caller);
      case 3: {
        v1::ConfirmGroupRequest request;
        return registry_->Confirm(caller, Address(request), answers_.Expect());
      }
      case 4: {
        v1::LeaveGroupRequest request;
        request.set_last_epoch(input.Byte());
        registry_->Leave(caller, Address(request)).IgnoreError();
        return;
      }
      case 5: {
        v1::AbortGroupRequest request;
        request.set_reason(input.Text(40));
        registry_->Abort(caller, Address(request)).IgnoreError();
        return;
      }
      case 6: {
        v1::AllocateSharedRequest request;
        request.set_bytes(input.Number(3) == 0 ? input.Word() : input.Byte());
        request.set_sequence(static_cast<uint64_t>(input.Number(3)));
        request.set_timeout_ms(input.Number(4) == 0 ? 1 : 0);
        return registry_->AllocateShared(caller, Address(request), answers_.Expect());
      }
      case 7: {
        v1::FreeSharedRequest request;
        request.set_sequence(static_cast<uint64_t>(input.Number(3)));
        registry_->FreeShared(caller, Address(request)).IgnoreError();
        return;
      }
      case 8:
        if (input.Number(1) == 0) return registry_->SessionDied(caller.session, input.Text(20));
        return registry_->SessionEnded(caller.session, input.Text(20));
      case 10:
        return registry_->GiveUpJoin(caller, static_cast<uint64_t>(input.Number(3)), "gave up");
      default:
        if (input.Number(1) == 0) return registry_->AbortOnGpu(Uuid(input.Number(kGpus)), "lost");
        for (const v1::GroupInfo& group : registry_->List())
          generations_.insert(group.generation());
    }
  }

  void Join(const Caller& caller) {
    Input& input = input_;
    v1::JoinGroupRequest request;
    if (input.Number(9) == 0) {
      request.ParseFromString(input.Text(200));  // whatever that gives
    } else {
      request.set_name(std::string(1, static_cast<char>('a' + input.Number(2))));
      request.set_world_size(1 + input.Number(2));
      request.set_rank(input.Number(2));
      request.set_gpu_uuid(Uuid(input.Number(kGpus)));
      request.set_plane_bytes(input.Number(5) == 0 ? (4_MiB).value : 0);
      request.set_timeout_ms(input.Number(5) == 0 ? 1 : 0);
      request.set_attempt(static_cast<uint64_t>(request.rank()) + 1);
    }
    // Small planes only: the fake memory is real.
    if (request.plane_bytes() > (8_MiB).value) request.set_plane_bytes(0);
    const auto expect = answers_.Expect();
    registry_->Join(caller, request,
                    [this, caller, expect](absl::StatusOr<v1::JoinGroupResponse> answer) {
                      expect(answer);
                      if (!answer.ok()) return;
                      bool is_member = false;
                      for (const v1::Member& member : answer->members()) {
                        is_member |= member.pid() == caller.pid;
                      }
                      Require(is_member, "who is told of a group is in it");
                      courier_.Take(answer->transfer_id());
                      told_ = answer->generation();
                    });
  }

  // A generation that there may be, and a rank.
  template <typename Request>
  Request& Address(Request& request) {
    Input& input = input_;
    request.set_rank(input.Number(3) - 1);
    switch (input.Number(2)) {
      case 0:
        request.set_generation(told_);
        break;
      case 1:
        if (!generations_.empty()) request.set_generation(*generations_.rbegin());
        break;
      default:
        request.set_generation(input.Word());
    }
    return request;
  }

  Input& input_;  // outlives the world
  Memory& memory_ = GetMemory();
  HostState host_{FourGpus()};
  Admission admission_{&host_, {.trust_driver = true}, {}};
  FakeFdCourier courier_;
  Answers answers_;
  uint64_t told_ = 0;
  std::set<uint64_t> generations_;
  std::unique_ptr<GroupRegistry> registry_;
};

}  // namespace
}  // namespace nodecomm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nodecomm::GetMemory();  // it has descriptors of its own
  const int before = nodecomm::OpenFds();
  nodecomm::Input input(data, size);
  nodecomm::World(input).Run();
  nodecomm::Require(nodecomm::OpenFds() == before, "every descriptor is closed");
  return 0;
}
