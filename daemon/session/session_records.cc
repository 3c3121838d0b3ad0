#include "daemon/session/session_records.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_format.h"
#include "client/base/status_macros.h"
#include "daemon/files/small_file.h"
#include "daemon/session/peer.h"
#include "nodecomm/v1/state.pb.h"

namespace nodecomm {
namespace {

constexpr char kSuffix[] = ".session";
constexpr size_t kRecordBytesMax = 4096;
constexpr size_t kRecordsMax = 65536;  // as limits.sessions_max at most

absl::StatusOr<KnownSession> Recognise(const std::string& bytes) {
  v1::SessionRecord record;
  KnownSession known;
  if (!record.ParseFromString(bytes) || record.session_id() == 0 || record.pid() <= 0 ||
      record.token().size() != known.token.size()) {
    return absl::InvalidArgumentError("no session record");
  }
  known.caller = {.session = {record.session_id()}, .uid = record.uid(), .pid = record.pid()};
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
  return ReplaceSmallFile(PathOf(caller.session), record.SerializeAsString());
}

void SessionRecords::Remove(SessionId session) const {
  if (!dir_.empty()) unlink(PathOf(session).c_str());
}

absl::StatusOr<std::vector<KnownSession>> SessionRecords::TakeOver() const {
  std::vector<KnownSession> known;
  if (dir_.empty()) return known;
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                        ListSmallFiles(dir_, kSuffix, kRecordsMax));
  for (const std::string& name : names) {
    const std::string path = absl::StrFormat("%s/%s%s", dir_, name, kSuffix);
    const absl::StatusOr<std::string> bytes = ReadSmallFile(path, kRecordBytesMax);
    absl::StatusOr<KnownSession> session = bytes.ok() ? Recognise(*bytes) : bytes.status();
    if (session.ok() && PathOf(session->caller.session) == path) {
      known.push_back(*std::move(session));
    } else if (session.ok() || SaysThatItIsNone(session.status())) {
      unlink(path.c_str());
    }
  }
  return known;
}

}  // namespace nodecomm
