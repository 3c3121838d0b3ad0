#include "daemon/session/session_records.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "daemon/files/small_file.h"
#include "daemon/session/peer.h"
#include "nodecomm/v1/state.pb.h"

namespace nodecomm {
namespace {

constexpr char kSuffix[] = ".session";
constexpr char kHidden[] =
    "its process is hidden from the daemon (a container without the host's process ids), so that "
    "nothing tells whether it lived on while the daemon was away";
constexpr size_t kRecordBytesMax = 4096;
constexpr size_t kRecordsMax = 65536;  // as limits.sessions_max at most

absl::StatusOr<v1::SessionRecord> Parse(const std::string& bytes) {
  v1::SessionRecord record;
  if (!record.ParseFromString(bytes) || record.session_id() == 0 || record.pid() < 0 ||
      record.token().size() != Token().size()) {
    return absl::InvalidArgumentError("no session record");
  }
  return record;
}

Caller CallerOf(const v1::SessionRecord& record) {
  return {.session = {record.session_id()}, .uid = record.uid(), .pid = record.pid()};
}

absl::StatusOr<KnownSession> FindProcess(const v1::SessionRecord& record) {
  KnownSession known = {.caller = CallerOf(record), .token = {}, .pidfd = {}};
  std::copy(record.token().begin(), record.token().end(), known.token.begin());
  ABSL_ASSIGN_OR_RETURN(known.pidfd, OpenPidfd(record.pid()));
  // Asked after the pidfd was opened: if the id has passed to another process, this tells.
  ABSL_ASSIGN_OR_RETURN(const uint64_t start, ReadProcessStart(record.pid()));
  if (start == 0 && record.process_start() != 0) {
    return absl::InternalError("when the process began cannot be read");
  }
  if (start != record.process_start()) return absl::NotFoundError("the process has ended");
  return known;
}

// As PathOf names it; 0: it is no session's.
SessionId SessionOf(const std::string& name) {
  SessionId session;
  const bool read = name.size() == 16 && absl::SimpleHexAtoi(name, &session.value);
  return read ? session : SessionId{};
}

// And not that something is lacking at this moment: descriptors, say.
bool SaysThatItIsNone(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
         absl::IsUnavailable(status);  // no such process
}

}  // namespace

std::string SessionRecords::PathOf(SessionId session) const {
  return absl::StrFormat("%s/%016x%s", dir_, session.value, kSuffix);
}

absl::Status SessionRecords::Add(const Caller& caller, const Token& token) const {
  if (dir_.empty()) return absl::OkStatus();
  v1::SessionRecord record;
  record.set_session_id(caller.session.value);
  record.set_token(token.data(), token.size());
  record.set_pid(caller.pid);
  record.set_uid(caller.uid);
  // Not without: a later daemon would take the process for another one.
  ABSL_ASSIGN_OR_RETURN(const uint64_t start, ReadProcessStart(caller.pid));
  record.set_process_start(start);
  absl::Status written = ReplaceSmallFile(PathOf(caller.session), record.SerializeAsString());
  if (written.ok()) return written;
  return absl::Status(written.code(),
                      absl::StrCat("its record cannot be written: ", written.message()));
}

void SessionRecords::Remove(SessionId session) const {
  if (!dir_.empty()) unlink(PathOf(session).c_str());
}

absl::StatusOr<FoundSessions> SessionRecords::TakeOver() const {
  FoundSessions found;
  if (dir_.empty()) return found;
  RemoveUnfinished(dir_);
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                        ListSmallFiles(dir_, kSuffix, kRecordsMax));
  for (const std::string& name : names) {
    const std::string path = absl::StrFormat("%s/%s%s", dir_, name, kSuffix);
    const absl::StatusOr<std::string> bytes = ReadSmallFile(path, kRecordBytesMax);
    absl::StatusOr<v1::SessionRecord> record = bytes.ok() ? Parse(*bytes) : bytes.status();
    if (record.ok() && PathOf({record->session_id()}) != path) {
      record = absl::InvalidArgumentError("the record of another session");
    }
    if (!record.ok()) {
      found.lost.push_back(
          {.caller = {.session = SessionOf(name)},
           .cause = absl::StrFormat("the record of the session, %s, is of no use: %s", path,
                                    record.status().message())});
      if (SaysThatItIsNone(record.status())) {
        absl::StrAppend(&found.lost.back().cause, "; it ", RemoveOrSetAside(path));
      }
      continue;
    }
    if (record->pid() == 0) {
      found.lost.push_back({.caller = CallerOf(*record), .cause = kHidden});
      unlink(path.c_str());
      continue;
    }
    absl::StatusOr<KnownSession> session = FindProcess(*record);
    if (session.ok()) {
      found.known.push_back(*std::move(session));
    } else if (SaysThatItIsNone(session.status())) {
      found.lost.push_back(
          {.caller = CallerOf(*record),
           .end = SessionEnd::kProcessEnded,
           .cause = absl::StrFormat("process %d ended while the daemon was away", record->pid())});
      unlink(path.c_str());
    } else {
      found.lost.push_back({.caller = CallerOf(*record),
                            .cause = absl::StrFormat("process %d cannot be watched: %s",
                                                     record->pid(), session.status().message())});
    }
  }
  return found;
}

}  // namespace nodecomm
