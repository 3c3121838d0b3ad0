#include "daemon/service/user_servers.h"

#include <algorithm>

namespace nodecomm {

size_t UserServers::ServerOf(uid_t uid, const std::map<uid_t, int>& connected) {
  absl::MutexLock lock(&mu_);
  for (size_t server = 0; server < users_.size(); ++server) {
    if (users_[server].contains(uid)) return server;
  }
  size_t chosen = Emptiest();
  if (!users_[chosen].empty()) {
    for (std::set<uid_t>& users : users_) {
      std::erase_if(users, [&](uid_t user) { return !connected.contains(user); });
    }
    chosen = Emptiest();
  }
  users_[chosen].insert(uid);
  return chosen;
}

size_t UserServers::Emptiest() const {
  const auto emptiest =
      std::min_element(users_.begin(), users_.end(),
                       [](const auto& a, const auto& b) { return a.size() < b.size(); });
  return static_cast<size_t>(emptiest - users_.begin());
}

}  // namespace nodecomm
