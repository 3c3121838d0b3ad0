// The daemon's parts as the calls see them, without sockets for fds, memory or GPUs.
// The registry keeps what it was asked, and answers when the test says so.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/base/steady_clock.h"
#include "daemon/group/group_registry.h"
#include "daemon/memory/plane_pool.h"
#include "daemon/proof/pair_probe.h"
#include "daemon/topology/inventory.h"

namespace nodecomm {

class FakeGroupRegistry final : public GroupRegistry {
 public:
  struct PendingJoin {
    Caller caller;
    v1::JoinGroupRequest request;
    JoinDone done;
  };

  void Join(const Caller& caller, const v1::JoinGroupRequest& request, JoinDone done) override {
    absl::MutexLock lock(&mu_);
    joins_.push_back({.caller = caller, .request = request, .done = std::move(done)});
  }
  void Confirm(const Caller&, const v1::ConfirmGroupRequest&, ConfirmDone done) override {
    done(Outcome());
  }
  void AllocateShared(const Caller&, const v1::AllocateSharedRequest& request,
                      SharedDone done) override {
    if (const absl::Status outcome = Outcome(); !outcome.ok()) return done(outcome);
    v1::AllocateSharedResponse response;
    response.set_bytes(request.bytes());
    response.set_transfer_id(5);
    done(response);
  }
  absl::Status FreeShared(const Caller&, const v1::FreeSharedRequest&) override {
    return Outcome();
  }
  absl::Status Leave(const Caller& caller, const v1::LeaveGroupRequest& request) override {
    absl::MutexLock lock(&mu_);
    leaves_.emplace_back(caller, request);
    return outcome_;
  }
  absl::Status Abort(const Caller&, const v1::AbortGroupRequest&) override { return Outcome(); }
  void GiveUpJoin(const Caller& caller, uint64_t attempt, std::string_view) override {
    absl::MutexLock lock(&mu_);
    given_up_.emplace_back(caller.session, attempt);
  }
  void SessionDied(SessionId, std::string_view) override {}
  void AbortOnGpu(std::string_view, std::string_view) override {}
  absl::Status AbortByAdmin(uint64_t generation, std::string_view) override {
    return generation == 7 ? absl::OkStatus() : absl::NotFoundError("no such group");
  }
  void StopForming(std::string_view) override {}
  void StartForming() override {}
  void AbortAll(std::string_view) override {}
  void SetLimits(const Limits&) override {}
  void SessionEnded(SessionId, std::string_view) override {}
  void GpuLost(std::string_view, std::string_view) override {}
  void LookAfterFiles() override {}
  void RunDue(SteadyTime) override {}

  std::vector<v1::GroupInfo> List() const override {
    std::vector<v1::GroupInfo> groups(3);
    groups[0].set_name("forming");
    groups[0].set_state(v1::GROUP_STATE_GATHERING);
    groups[1].set_name("ready");
    groups[1].set_state(v1::GROUP_STATE_READY);
    groups[2].set_name("over");
    groups[2].set_state(v1::GROUP_STATE_ABORTED);
    absl::MutexLock lock(&mu_);
    if (!member_.empty()) {
      groups[0].set_generation(10);
      v1::GroupMember* left = groups[0].add_members();
      left->set_session(member_);
      left->set_left(true);
      groups[1].set_generation(11);
      for (int rank = 0; rank < 2; ++rank) groups[1].add_members()->set_session(member_);
    }
    return groups;
  }

  // The session that holds two ranks of a listed group, and has left another.
  void SetMember(std::string session) {
    absl::MutexLock lock(&mu_);
    member_ = std::move(session);
  }

  // What all calls but Join answer.
  void SetOutcome(absl::Status outcome) {
    absl::MutexLock lock(&mu_);
    outcome_ = std::move(outcome);
  }

  // Waits until `count` joins have come, and takes them. Fewer after 20 s.
  std::vector<PendingJoin> TakeJoins(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&] {
      mu_.AssertReaderHeld();
      return joins_.size() >= count;
    };
    mu_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
    return std::exchange(joins_, {});
  }

  std::vector<std::pair<SessionId, uint64_t>> given_up() const {
    absl::MutexLock lock(&mu_);
    return given_up_;
  }
  std::vector<std::pair<Caller, v1::LeaveGroupRequest>> leaves() const {
    absl::MutexLock lock(&mu_);
    return leaves_;
  }

 private:
  absl::Status Outcome() const {
    absl::MutexLock lock(&mu_);
    return outcome_;
  }

  mutable absl::Mutex mu_;
  absl::Status outcome_ ABSL_GUARDED_BY(mu_);
  std::string member_ ABSL_GUARDED_BY(mu_);
  std::vector<PendingJoin> joins_ ABSL_GUARDED_BY(mu_);
  std::vector<std::pair<SessionId, uint64_t>> given_up_ ABSL_GUARDED_BY(mu_);
  std::vector<std::pair<Caller, v1::LeaveGroupRequest>> leaves_ ABSL_GUARDED_BY(mu_);
};

class FakePlanePool final : public PlanePool {
 public:
  absl::StatusOr<PlaneLease> Acquire(std::string_view, ByteCount) override {
    return absl::UnimplementedError("fake");
  }
  void Close(std::string_view) override {}
  void Open(std::string_view) override {}
  absl::StatusOr<PlaneLease> Adopt(std::string_view, ByteCount) override {
    return absl::UnimplementedError("fake");
  }
  bool WaitUntilFilled(absl::Duration) override { return true; }
  std::vector<v1::PoolInfo> List() const override {
    std::vector<v1::PoolInfo> pools(1);
    pools[0].set_gpu_uuid("GPU-a");
    pools[0].set_planes_ready(2);
    return pools;
  }

 protected:
  void Returned(const std::string&, ByteCount) override {}
};

class FakeInventory final : public Inventory {
 public:
  absl::StatusOr<v1::Host> Read() override {
    if (fails) return absl::InternalError("the driver is gone");
    v1::Host host;
    host.set_hostname("read anew");
    return host;
  }
  std::string Source() const override { return "fake.textproto"; }

  std::atomic<bool> fails = false;
};

// Finds every pair sound at once.
class FakePairProbe final : public PairProbe {
 public:
  absl::Status CanTry() const override {
    return missing ? absl::NotFoundError("the probe /x cannot be run") : absl::OkStatus();
  }
  absl::StatusOr<std::vector<v1::PeerProof>> Prove(const GpuPair& pair,
                                                   const absl::Notification&) override {
    std::vector<v1::PeerProof> proofs = Unproven(pair, "");
    for (v1::PeerProof& proof : proofs) proof.set_verdict(v1::PROOF_VERDICT_PROVEN);
    return proofs;
  }

  std::atomic<bool> missing = false;
};

}  // namespace nodecomm
