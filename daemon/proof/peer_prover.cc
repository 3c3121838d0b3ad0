#include "daemon/proof/peer_prover.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/proof/proof_cache.h"
#include "daemon/proof/rounds.h"

namespace nodecomm {
namespace {

// A host that stalls in each of them, for as long as a proof may take, serves nobody.
constexpr int kLateTriesMax = 3;

constexpr char kMoreThreads[] = "raise TasksMax= of the unit, or pids.max of the container";

using DirectedPair = std::pair<std::string, std::string>;

std::map<DirectedPair, const v1::Link*> LinksByPair(const v1::Host& host) {
  std::map<DirectedPair, const v1::Link*> links;
  for (const v1::Link& link : host.links()) links[{link.from_uuid(), link.to_uuid()}] = &link;
  return links;
}

std::optional<std::string> WhyNotTried(const v1::Gpu& gpu) {
  if (gpu.condition() == v1::GPU_CONDITION_LOST) return absl::StrCat(gpu.uuid(), " is lost");
  if (gpu.condition() == v1::GPU_CONDITION_DRAINING) {
    return absl::StrCat(gpu.uuid(), " is being taken out of service");
  }
  if (gpu.mig_mode() == v1::MIG_MODE_ENABLED) {
    return absl::StrCat(gpu.uuid(), " is in MIG mode, which has no peer access");
  }
  return std::nullopt;
}

std::optional<std::string> WhyNotTried(const v1::Link* link) {
  if (link == nullptr || link->peer_access() != v1::PEER_ACCESS_NOT_SUPPORTED) return std::nullopt;
  constexpr char kNoAccess[] = "not tried: the driver says that there is no peer access";
  if (link->peer_access_reason().empty()) return kNoAccess;
  return absl::StrCat(kNoAccess, " (", link->peer_access_reason(), ")");
}

bool HasGpu(const v1::Host& host, const std::string& uuid) {
  return std::any_of(host.gpus().begin(), host.gpus().end(),
                     [&](const v1::Gpu& gpu) { return gpu.uuid() == uuid; });
}

std::optional<std::string> WhyNotTriedNow(const v1::Host& host, const GpuPair& pair) {
  for (const v1::Gpu& gpu : host.gpus()) {
    if (gpu.uuid() != pair.a && gpu.uuid() != pair.b) continue;
    if (std::optional<std::string> why_not = WhyNotTried(gpu)) return why_not;
  }
  return std::nullopt;
}

}  // namespace

PeerProver::PeerProver(Options options, HostState* state, PairProbe* probe)
    : options_(std::move(options)), state_(state), probe_(probe) {
  if (absl::StatusOr<std::string> boot_id = ReadBootId(); boot_id.ok()) {
    boot_id_ = *std::move(boot_id);
  } else {
    options_.warn(absl::StrCat("proofs are not kept: ", boot_id.status().message()));
    return;
  }
  const absl::StatusOr<v1::PeerProofs> cached = ReadProofCache(options_.cache_path);
  if (!cached.ok() && !absl::IsNotFound(cached.status())) {
    options_.warn(absl::StrCat("peer access is proven anew: ", cached.status().message()));
  }
  state_->SetProofs(StillValid(cached.ok() ? *cached : v1::PeerProofs(), boot_id_, state_->host()));
}

PeerProver::~PeerProver() {
  cancelled_.Notify();
  Thread thread;  // joined after the lock is released
  absl::MutexLock lock(&mu_);
  thread = std::move(thread_);
}

absl::StatusOr<bool> PeerProver::Start(Which which) {
  bool is_news = false;
  const absl::StatusOr<bool> started = TryToStart(which, is_news);
  if (started.ok()) return *started;
  if (is_news) {
    options_.warn(absl::StrCat(
        "peer access cannot be proven now: ", started.status().message(),
        "; pairs without a proof stay without one until there is a thread: ", kMoreThreads));
  }
  const std::string reason = absl::StrCat(started.status().message(), ": ", kMoreThreads);
  SayWhyNotTried(reason);
  return absl::ResourceExhaustedError(reason);
}

void PeerProver::SayWhyNotTried(const std::string& reason) {
  const v1::Host host = state_->host();
  for (int b = 1; b < host.gpus_size(); ++b) {
    for (int a = 0; a < b; ++a) {
      const GpuPair pair{host.gpus(a).uuid(), host.gpus(b).uuid()};
      if (WhyNotTriedNow(host, pair).has_value()) continue;
      for (const v1::PeerProof& proof : Unproven(pair, reason)) state_->SetProofIfNone(proof);
    }
  }
}

absl::StatusOr<bool> PeerProver::TryToStart(Which which, bool& is_news) {
  absl::MutexLock lock(&mu_);
  if (running_ || cancelled_.HasBeenNotified()) return false;
  thread_.Join();  // it has said that it is done
  which = std::max(which, owed_.value_or(which));
  absl::StatusOr<Thread> thread = Thread::Start([this, which] { RunAll(which); });
  if (!thread.ok()) {
    is_news = !owed_.has_value();
    owed_ = which;
    return thread.status();
  }
  owed_.reset();
  thread_ = *std::move(thread);
  running_ = true;
  pairs_total_ = 0;
  pairs_done_ = 0;
  started_ = SteadyNow();
  return true;
}

bool PeerProver::RetryLacking() {
  {
    absl::MutexLock lock(&mu_);
    if (lacking_.empty() && !owed_.has_value()) return false;
  }
  return Start(Which::kLacking).value_or(false);
}

int PeerProver::Lacking() const {
  absl::MutexLock lock(&mu_);
  return 2 * static_cast<int>(lacking_.size());
}

bool PeerProver::LacksThread() const {
  absl::MutexLock lock(&mu_);
  return owed_.has_value();
}

void PeerProver::StartAfterwards() {
  {
    absl::MutexLock lock(&mu_);
    again_ = running_;
    if (again_) return;
  }
  if (Start(Which::kMissing).value_or(false)) return;
  // Somebody else's run began meanwhile, and may have looked at the host before.
  absl::MutexLock lock(&mu_);
  again_ = running_;
}

void PeerProver::RunAll(Which which) {
  while (true) {
    Run(which, Plan(which));
    absl::MutexLock done(&mu_);
    if (!again_ || cancelled_.HasBeenNotified()) {
      running_ = false;
      done_.SignalAll();
      ended_ = SteadyNow();
      return;
    }
    again_ = false;
    pairs_done_ = 0;
    which = Which::kMissing;
  }
}

bool PeerProver::IsTrying(const std::string& gpu_uuid) const {
  absl::MutexLock lock(&mu_);
  return tried_.contains(gpu_uuid);
}

bool PeerProver::WaitUntilDone(absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  const auto done = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !running_; };
  return done_.Await(&mu_, SteadyNow() + timeout, done);
}

v1::PeerCheckProgress PeerProver::Progress() const {
  absl::MutexLock lock(&mu_);
  v1::PeerCheckProgress progress;
  progress.set_running(running_);
  progress.set_pairs_total(pairs_total_);
  progress.set_pairs_done(pairs_done_);
  if (started_ != SteadyTime::InfinitePast()) {
    progress.set_elapsed_ms(
        absl::ToInt64Milliseconds((running_ ? SteadyNow() : ended_) - started_));
  }
  return progress;
}

std::vector<PeerProver::Round> PeerProver::Plan(Which which) {
  const v1::Host host = state_->host();
  const v1::PeerProofs known = state_->proofs();
  std::set<DirectedPair> proven;
  for (const v1::PeerProof& proof : known.proofs()) {
    // What could not be tried before may work now.
    if (proof.verdict() != v1::PROOF_VERDICT_UNPROVEN) {
      proven.emplace(proof.from_uuid(), proof.to_uuid());
    }
  }
  const auto links = LinksByPair(host);
  const auto link = [&](const std::string& from, const std::string& to) {
    const auto found = links.find({from, to});
    return found == links.end() ? nullptr : found->second;
  };
  std::set<GpuPair> lacking;
  {
    absl::MutexLock lock(&mu_);
    lacking = lacking_;
  }
  std::set<GpuPair> not_tried;
  std::vector<Round> rounds;
  int pairs = 0;
  for (const std::vector<IndexPair>& indices : DisjointRounds(host.gpus_size())) {
    Round round;
    for (const auto& [first, second] : indices) {
      const v1::Gpu& a = host.gpus(static_cast<int>(first));
      const v1::Gpu& b = host.gpus(static_cast<int>(second));
      const GpuPair pair{a.uuid(), b.uuid()};
      if (which == Which::kLacking && !lacking.contains(pair)) continue;
      if (which != Which::kAll && proven.contains({pair.a, pair.b}) &&
          proven.contains({pair.b, pair.a})) {
        continue;
      }
      std::optional<std::string> why_not = WhyNotTried(a);
      if (!why_not.has_value()) why_not = WhyNotTried(b);
      if (!why_not.has_value()) why_not = WhyNotTried(link(pair.a, pair.b));
      if (!why_not.has_value()) why_not = WhyNotTried(link(pair.b, pair.a));
      if (why_not.has_value()) {
        for (const v1::PeerProof& proof : Unproven(pair, *why_not)) state_->SetProof(proof);
        not_tried.insert(pair);
        continue;
      }
      round.push_back(pair);
    }
    pairs += 2 * static_cast<int>(round.size());
    if (!round.empty()) rounds.push_back(std::move(round));
  }
  if (pairs > 0 && which != Which::kLacking) {
    options_.begins(pairs, static_cast<int>(rounds.size()));
  }
  absl::MutexLock lock(&mu_);
  // Of GPUs that are gone, too, nothing is lacking any more.
  std::erase_if(lacking_, [&](const GpuPair& pair) {
    return not_tried.contains(pair) || !HasGpu(host, pair.a) || !HasGpu(host, pair.b);
  });
  pairs_total_ = pairs;
  return rounds;
}

void PeerProver::Run(Which which, const std::vector<Round>& rounds) {
  for (const Round& round : rounds) {
    std::vector<Thread> threads;
    for (const GpuPair& pair : round) {
      absl::StatusOr<Thread> thread = Thread::Start([this, which, &pair] { Try(which, pair); });
      if (thread.ok()) {
        threads.push_back(*std::move(thread));
      } else {
        Try(which, pair);  // one after another will do
      }
    }
    threads.clear();
    if (cancelled_.HasBeenNotified()) return;
  }
  if (!rounds.empty()) Save();
}

void PeerProver::Try(Which which, const GpuPair& pair) {
  {
    absl::MutexLock lock(&mu_);
    tried_.insert(pair.a);
    tried_.insert(pair.b);
  }
  // Looked at anew, and after it was said that the pair is tried: whoever takes a GPU out of
  // service sets its condition first and asks then.
  bool lacks = false;
  if (const std::optional<std::string> why_not = WhyNotTriedNow(state_->host(), pair)) {
    Record(which, Unproven(pair, *why_not));
  } else {
    absl::StatusOr<std::vector<v1::PeerProof>> proofs = probe_->Prove(pair, cancelled_);
    lacks = !proofs.ok() || JudgeLateness(pair, *proofs);
    Record(which, proofs.ok() ? *proofs : Unproven(pair, std::string(proofs.status().message())));
  }
  absl::MutexLock lock(&mu_);
  if (lacks) {
    lacking_.insert(pair);
  } else {
    lacking_.erase(pair);
  }
  tried_.erase(tried_.find(pair.a));
  tried_.erase(tried_.find(pair.b));
}

bool PeerProver::JudgeLateness(const GpuPair& pair, std::vector<v1::PeerProof>& proofs) {
  const auto is_late = [](const v1::PeerProof& proof) { return proof.late(); };
  {
    absl::MutexLock lock(&mu_);
    if (std::none_of(proofs.begin(), proofs.end(), is_late)) {
      late_.erase(pair);
      return false;
    }
    if (++late_[pair] < kLateTriesMax) return true;
    late_.erase(pair);
  }
  for (v1::PeerProof& proof : proofs) {
    if (!proof.late()) continue;
    proof.set_verdict(v1::PROOF_VERDICT_FAILED);
    proof.set_reason(absl::StrFormat("%s, %d times in a row", proof.reason(), kLateTriesMax));
  }
  return false;
}

void PeerProver::Record(Which which, const std::vector<v1::PeerProof>& proofs) {
  if (cancelled_.HasBeenNotified()) return;
  for (const v1::PeerProof& proof : proofs) {
    const bool is_news = which != Which::kLacking || !IsKnown(proof);
    state_->SetProof(proof);
    if (is_news) options_.proven(proof);
  }
  absl::MutexLock lock(&mu_);
  pairs_done_ += static_cast<int>(proofs.size());
}

bool PeerProver::IsKnown(const v1::PeerProof& proof) const {
  const v1::PeerProofs known = state_->proofs();
  return std::any_of(known.proofs().begin(), known.proofs().end(), [&](const auto& other) {
    return other.from_uuid() == proof.from_uuid() && other.to_uuid() == proof.to_uuid() &&
           other.verdict() == proof.verdict();
  });
}

void PeerProver::Save() {
  if (boot_id_.empty()) return;
  const absl::Status saved = WriteProofCache(options_.cache_path, state_->proofs());
  if (!saved.ok()) {
    options_.warn(absl::StrCat("proofs of peer access are not kept: ", saved.message()));
  }
}

}  // namespace nodecomm
