// The sessions that ended most recently, so that a call of theirs that comes late finds no place.
// Not all of them: a call is late by a moment, so a bounded memory serves.
#pragma once

#include <cstddef>
#include <deque>
#include <set>

#include "daemon/group/fd_courier.h"

namespace nodecomm {

class EndedSessions {
 public:
  void Add(SessionId session) {
    if (!known_.insert(session).second) return;
    order_.push_back(session);
    if (order_.size() <= kRemembered) return;
    known_.erase(order_.front());
    order_.pop_front();
  }
  bool Contains(SessionId session) const { return known_.contains(session); }

 private:
  static constexpr size_t kRemembered = 4096;
  std::deque<SessionId> order_;
  std::set<SessionId> known_;
};

}  // namespace nodecomm
