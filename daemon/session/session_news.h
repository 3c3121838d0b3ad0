// Why sessions end and connections are refused, for those who count and log it. Not for workers:
// they read the reason in words. Design note: daemon/session/README.md.
#pragma once

#include <sys/types.h>

#include <array>
#include <string>
#include <string_view>

namespace nodecomm {

enum class SessionEnd {
  kProcessEnded,  // its pidfd says so
  kExecuted,      // it runs another program, and a fork of what it was keeps the socket
  kClosed,        // end of file: mostly the same, a moment earlier
  kProtocol,      // a frame that breaks the protocol
  kNotTaken,      // descriptors that were sent, or queued, are not taken
  kNotSent,       // the daemon could not send or watch
  kNotResumed,    // did not come back to a daemon that was restarted
  kNotTakenOver,  // its record is of no use to a daemon that was restarted
  kDaemonStopping,
};
inline constexpr std::array kSessionEnds = {
    SessionEnd::kProcessEnded, SessionEnd::kExecuted,     SessionEnd::kClosed,
    SessionEnd::kProtocol,     SessionEnd::kNotTaken,     SessionEnd::kNotSent,
    SessionEnd::kNotResumed,   SessionEnd::kNotTakenOver, SessionEnd::kDaemonStopping};

constexpr std::string_view Word(SessionEnd end) {
  switch (end) {
    case SessionEnd::kProcessEnded:
      return "process_ended";
    case SessionEnd::kExecuted:
      return "executed";
    case SessionEnd::kClosed:
      return "closed";
    case SessionEnd::kProtocol:
      return "protocol";
    case SessionEnd::kNotTaken:
      return "not_taken";
    case SessionEnd::kNotSent:
      return "not_sent";
    case SessionEnd::kNotResumed:
      return "not_resumed";
    case SessionEnd::kNotTakenOver:
      return "not_taken_over";
    case SessionEnd::kDaemonStopping:
      return "daemon_stopping";
  }
  return "unknown";
}

// Whether workers of the daemon before this one may expect to be taken over.
enum class Predecessor {
  kEndedInOrder,  // it has ended their sessions; or there was none
  kKilled,
};

enum class Door { kSession, kControl, kAdmin };

constexpr std::string_view Word(Door door) {
  switch (door) {
    case Door::kSession:
      return "session";
    case Door::kControl:
      return "control";
    case Door::kAdmin:
      return "admin";
  }
  return "unknown";
}

enum class RefusalCause {
  kRate,              // the user connects too often
  kLimit,             // has, or all have, as many as allowed; or the daemon is out of descriptors
  kNotAdministrator,  // on admin.sock
  kUnknownUser,       // has no uid of its own where the daemon runs
  kVersion,           // no hello that this daemon understands
  kUnknownSession,    // wants to go on with a session that there is not
  kNoRecord,          // the same, of a killed daemon's session of which somebody removed the record
  kFailure,           // of the daemon: the process cannot be watched, or no session be recorded
};

constexpr std::string_view Word(RefusalCause cause) {
  switch (cause) {
    case RefusalCause::kRate:
      return "rate";
    case RefusalCause::kLimit:
      return "limit";
    case RefusalCause::kNotAdministrator:
      return "not_administrator";
    case RefusalCause::kUnknownUser:
      return "unknown_user";
    case RefusalCause::kVersion:
      return "version";
    case RefusalCause::kUnknownSession:
      return "unknown_session";
    case RefusalCause::kNoRecord:
      return "no_record";
    case RefusalCause::kFailure:
      return "failure";
  }
  return "unknown";
}

// A connection that was not taken.
struct Refusal {
  Door door = Door::kSession;
  RefusalCause cause = RefusalCause::kFailure;
  uid_t uid = 0;
  pid_t pid = 0;
  std::string reason = {};  // for people; may hold what a worker chose
};

}  // namespace nodecomm
