// Runs the proofs of peer access: chooses the pairs, tries those at once that share no GPU, and
// remembers what came of it. Not the trying (pair_probe.h), not what a verdict means for a group
// (daemon/topology/fast_path.h). Design note: daemon/proof/README.md.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "client/base/steady_clock.h"
#include "client/base/steady_wait.h"
#include "daemon/process/thread.h"
#include "daemon/proof/pair_probe.h"
#include "daemon/topology/host_state.h"
#include "nodecomm/v1/admin.pb.h"

namespace nodecomm {

// Thread-safe.
class PeerProver {
 public:
  // Each has what those before it have.
  enum class Which { kLacking, kMissing, kAll };

  struct Options {
    std::string cache_path;
    // What went wrong with the cache, which costs no more than time, or that there is no thread for
    // a run. May be called on any thread.
    std::function<void(std::string_view)> warn = [](std::string_view) {};
    // A run that has something to try: how many ordered pairs, in how many rounds. May be called on
    // any thread.
    std::function<void(int pairs, int rounds)> begins = [](int, int) {};
    // A pair's proofs, as they come. May be called on any thread.
    std::function<void(const v1::PeerProof&)> proven = [](const v1::PeerProof&) {};
  };

  // Takes what the cache has into `state`. Both outlive it.
  PeerProver(Options options, HostState* state, PairProbe* probe);
  // Gives up a run.
  ~PeerProver();

  // Starts a run, of the pairs without a proof, of all, or of those that lacked something. False:
  // one is going on, which goes on. ResourceExhausted: there is no thread for it, which is warned
  // of, and is what pairs say of which nothing else is known; RetryLacking makes up for it.
  absl::StatusOr<bool> Start(Which which);
  // Why a run would prove nothing, and only forget what was proven. OK: it may well.
  absl::Status CanTry() const { return probe_->CanTry(); }
  // Of the pairs without a proof, as the host is now: where a run is going on, another follows it.
  void StartAfterwards();
  // Tries those again that could not be tried for want of something, quietly: a proof is told of if
  // it is another than before. Starts a run, too, that had no thread. False: there is nothing to
  // try, or no run starts.
  bool RetryLacking();
  // Ordered pairs that could not be tried for want of something, or were late, when they last
  // should have been.
  int Lacking() const;
  // Whether a run had no thread, and waits for one.
  bool LacksThread() const;
  // Whether a program has the GPU at this moment. A GPU whose condition was set before is not taken
  // any more.
  bool IsTrying(const std::string& gpu_uuid) const;
  // True once no run is going on.
  bool WaitUntilDone(absl::Duration timeout);
  v1::PeerCheckProgress Progress() const;

 private:
  using Round = std::vector<GpuPair>;

  // False: one is going on. An error: there is no thread; news, unless the one before had none.
  absl::StatusOr<bool> TryToStart(Which which, bool& is_news);
  // Of pairs that would be tried and of which nothing is known, says why they are not.
  void SayWhyNotTried(const std::string& reason);
  // Pairs that a proof is not worth trying for get their answer here.
  std::vector<Round> Plan(Which which);
  void RunAll(Which which);
  void Run(Which which, const std::vector<Round>& rounds);
  void Try(Which which, const GpuPair& pair);
  void Record(Which which, const std::vector<v1::PeerProof>& proofs);
  // Whether the pair was late, so that it is to be tried again. Three times in a row are a failure.
  bool JudgeLateness(const GpuPair& pair, std::vector<v1::PeerProof>& proofs);
  // Whether the host's state says the same of the pair.
  bool IsKnown(const v1::PeerProof& proof) const;
  void Save();

  const Options options_;
  HostState* const state_;
  PairProbe* const probe_;
  std::string boot_id_;  // empty: not known, so nothing is kept
  absl::Notification cancelled_;

  mutable absl::Mutex mu_;
  SteadyCondVar done_;  // running_ is false
  bool running_ ABSL_GUARDED_BY(mu_) = false;
  bool again_ ABSL_GUARDED_BY(mu_) = false;  // another run of the missing pairs is to follow
  std::multiset<std::string> tried_ ABSL_GUARDED_BY(mu_);  // UUIDs of GPUs, at this moment
  std::set<GpuPair> lacking_ ABSL_GUARDED_BY(mu_);
  std::map<GpuPair, int> late_ ABSL_GUARDED_BY(mu_);  // how often in a row
  int pairs_total_ ABSL_GUARDED_BY(mu_) = 0;          // ordered
  int pairs_done_ ABSL_GUARDED_BY(mu_) = 0;
  SteadyTime started_ ABSL_GUARDED_BY(mu_) = SteadyTime::InfinitePast();
  SteadyTime ended_ ABSL_GUARDED_BY(mu_) = SteadyTime::InfinitePast();
  std::optional<Which> owed_ ABSL_GUARDED_BY(mu_);  // had no thread
  Thread thread_ ABSL_GUARDED_BY(mu_);
};

}  // namespace nodecomm
