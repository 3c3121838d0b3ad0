#include "daemon/service/waiting_calls.h"

#include <utility>

namespace nodecomm {

std::optional<uint64_t> WaitingCalls::Add(Finish finish) {
  absl::Status closed;
  {
    absl::MutexLock lock(&mu_);
    const uint64_t call = ++last_call_;
    if (closed_.ok()) {
      calls_.emplace(call, std::move(finish));
      return call;
    }
    closed = closed_;
  }
  finish(closed);
  return std::nullopt;
}

WaitingCalls::Finish WaitingCalls::Take(uint64_t call) {
  absl::MutexLock lock(&mu_);
  const auto it = calls_.find(call);
  if (it == calls_.end()) return nullptr;
  Finish finish = std::move(it->second);
  calls_.erase(it);
  return finish;
}

void WaitingCalls::FailAll(const absl::Status& status) {
  absl::flat_hash_map<uint64_t, Finish> calls;
  {
    absl::MutexLock lock(&mu_);
    closed_ = status;
    calls = std::exchange(calls_, {});
  }
  for (auto& [number, finish] : calls) finish(status);
}

}  // namespace nodecomm
