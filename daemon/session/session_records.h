// The sessions as a daemon that comes back finds them: one file each, written before the worker is
// welcomed. Not the groups' records (daemon/group). Design note: daemon/README.md, "restart".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/base/unique_fd.h"
#include "daemon/group/group_registry.h"
#include "daemon/session/handshake.h"
#include "daemon/session/session_news.h"

namespace nodecomm {

struct KnownSession {
  Caller caller;
  Token token;
  UniqueFd pidfd;  // of the process, which lived when this was read
};

// One that is not gone on with.
struct LostSession {
  Caller caller;  // of a record that is of no use only the session, which is 0 if nothing tells it
  SessionEnd end = SessionEnd::kNotTakenOver;
  std::string cause;
};

struct FoundSessions {
  std::vector<KnownSession> known;
  std::vector<LostSession> lost;
};

// One thread at a time.
class SessionRecords {
 public:
  // `dir` exists and is the daemon's own. Empty: nothing is kept.
  explicit SessionRecords(std::string dir) : dir_(std::move(dir)) {}

  absl::Status Add(const Caller& caller, const Token& token) const;
  void Remove(SessionId session) const;

  // Known are those whose processes live. Records of processes that have ended, and files that are
  // no records, are removed; one that cannot be read now is left for a later daemon.
  absl::StatusOr<FoundSessions> TakeOver() const;

 private:
  std::string PathOf(SessionId session) const;

  const std::string dir_;
};

}  // namespace nodecomm
